// filter.c: compiles a seccomp filter ahead of time, for start.c. Rules on stdin, the program on stdout.
//
//   default ERRNO
//   SYSCALL allow|ERRNO [INDEX OP VALUE VALUE_TWO]
//
// Names that libseccomp does not know are left out, as the runtimes do. Architectures: x86-64, i386 and x32 as in
// Docker's spec, or the native one elsewhere.
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum scmp_compare comparison(const char *name)
{
    if (!strcmp(name, "SCMP_CMP_EQ"))
        return SCMP_CMP_EQ;
    if (!strcmp(name, "SCMP_CMP_NE"))
        return SCMP_CMP_NE;
    if (!strcmp(name, "SCMP_CMP_MASKED_EQ"))
        return SCMP_CMP_MASKED_EQ;
    fprintf(stderr, "filter: unknown operator %s\n", name);
    exit(1);
}

int main(void)
{
    char line[256], name[64], action[16], operator[32];
    unsigned long long value, value_two;
    unsigned index;
    scmp_filter_ctx filter = NULL;
    int number;

    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "default %d", &number) == 1) {
            filter = seccomp_init(SCMP_ACT_ERRNO(number));
            seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); // a binary tree
#ifdef __x86_64__
            seccomp_arch_add(filter, SCMP_ARCH_X86);
            seccomp_arch_add(filter, SCMP_ARCH_X32);
#endif
            continue;
        }
        int words = sscanf(line, "%63s %15s %u %31s %llu %llu", name, action, &index, operator, &value, &value_two);
        if (!filter || words < 2) {
            fprintf(stderr, "filter: bad line: %s", line);
            return 1;
        }
        int call = seccomp_syscall_resolve_name(name);
        if (call == __NR_SCMP_ERROR)
            continue;
        unsigned what = strcmp(action, "allow") ? SCMP_ACT_ERRNO(atoi(action)) : SCMP_ACT_ALLOW;
        if (words == 2) {
            seccomp_rule_add(filter, what, call, 0);
        } else {
            struct scmp_arg_cmp argument = {index, comparison(operator), value, value_two};
            seccomp_rule_add(filter, what, call, 1, argument);
        }
    }
    if (!filter || seccomp_export_bpf(filter, STDOUT_FILENO)) {
        fprintf(stderr, "filter: cannot compile\n");
        return 1;
    }
    seccomp_release(filter);
    return 0;
}
