package main

import (
	"flag"
	"fmt"
	"net/http"

	"github.com/google/uuid"
)

var version = "unknown"

func main() {
	once := flag.Bool("once", false, "print and end")
	flag.Parse()
	text := fmt.Sprintf("%s %s", version, uuid.NameSpaceDNS)
	if *once {
		fmt.Println(text)
		return
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, text) })
	panic(http.ListenAndServe(":8080", nil))
}
