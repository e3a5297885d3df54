/* Compiles rules with libseccomp, for comparison. Input lines:
 *   default ACTION | arch NAME | rule ACTION NAME [INDEX OP VALUE VALUE2]...
 * Output: names that libseccomp does not know on stderr, the program (struct sock_filter) on stdout. */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(void)
{
    scmp_filter_ctx filter = NULL;
    char line[4096];
    while (fgets(line, sizeof line, stdin)) {
        char *word = strtok(line, " \n");
        if (!strcmp(word, "default")) {
            filter = seccomp_init(strtoul(strtok(NULL, " \n"), NULL, 0));
            seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
            continue;
        }
        if (!strcmp(word, "arch")) {
            int error = seccomp_arch_add(filter, seccomp_arch_resolve_name(strtok(NULL, " \n")));
            if (error && error != -EEXIST) return 2;
            continue;
        }
        unsigned action = strtoul(strtok(NULL, " \n"), NULL, 0);
        char *name = strtok(NULL, " \n");
        struct scmp_arg_cmp args[6];
        unsigned count = 0;
        for (char *index; (index = strtok(NULL, " \n")); count++) {
            args[count].arg = atoi(index);
            args[count].op = atoi(strtok(NULL, " \n"));
            args[count].datum_a = strtoull(strtok(NULL, " \n"), NULL, 0);
            args[count].datum_b = strtoull(strtok(NULL, " \n"), NULL, 0);
        }
        int number = seccomp_syscall_resolve_name(name);
        if (number == __NR_SCMP_ERROR) {
            fprintf(stderr, "%s\n", name);
            continue;
        }
        int error = seccomp_rule_add_array(filter, action, number, count, args);
        if (error && error != -EEXIST) return 3;
    }
    return seccomp_export_bpf(filter, STDOUT_FILENO) ? 4 : 0;
}
