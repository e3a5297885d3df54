package calc

import "testing"

func TestAdd(t *testing.T) {
	if Add(2, 3) != 5 || Mul(2, 3) != 6 {
		t.Fatal("numbers are broken")
	}
}
