/* Makes system calls, one per argument "ENTRY:NUMBER[:ARG]...", and prints each result (0 or more: 0, else the errno).
 * ENTRY is 64 for the syscall instruction, 32 for int 0x80 (x86-64 only). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static long int80(long number, long a, long b, long c)
{
    long result = -ENOSYS;
#ifdef __x86_64__
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c)
                     : "memory", "r8", "r9", "r10", "r11");
#endif
    return result;
}

int main(int argc, char **argv)
{
    puts("");
    for (int i = 1; i < argc; i++) {
        int entry = atoi(strtok(argv[i], ":"));
        long number = strtoul(strtok(NULL, ":"), NULL, 0), args[5] = {0};
        char *text;
        for (int n = 0; n < 5 && (text = strtok(NULL, ":")); n++) args[n] = strtoul(text, NULL, 0);
        long result;
        if (entry == 32) {
            result = int80(number, args[0], args[1], args[2]);
        } else {
            result = syscall(number, args[0], args[1], args[2], args[3], args[4]);
            if (result < 0) result = -errno;
        }
        printf("%ld\n", result < 0 && result > -4096 ? -result : 0);
        fflush(stdout);
    }
    return 0;
}
