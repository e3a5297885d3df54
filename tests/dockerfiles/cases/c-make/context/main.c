#include "count.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    printf("%ld bytes counted\n", argc > 1 ? count(argv[1]) : -1);
    return 0;
}
