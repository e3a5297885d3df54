// Package calc reads two numbers.
package calc

import (
	"fmt"
	"os"
	"strconv"
)

// Apply prints f of the two arguments of the program.
func Apply(f func(a, b int) int) {
	a, _ := strconv.Atoi(os.Args[1])
	b, _ := strconv.Atoi(os.Args[2])
	fmt.Println(f(a, b))
}

// Add adds.
func Add(a, b int) int { return a + b }

// Mul multiplies.
func Mul(a, b int) int { return a * b }
