#include "count.h"

#include <stdio.h>

long count(const char *path)
{
    FILE *file = fopen(path, "rb");
    long bytes = 0;
    if (!file)
        return -1;
    while (fgetc(file) != EOF)
        bytes++;
    fclose(file);
    return bytes;
}
