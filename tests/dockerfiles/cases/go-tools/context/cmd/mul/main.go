package main

import "example.com/tools/calc"

func main() { calc.Apply(calc.Mul) }
