// What the container's first process takes away from itself: privileges, system calls.
#define _GNU_SOURCE
#include "floor.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static const uint64_t KEPT = 0xa80425fb; // Docker's 14

void seal_network(void)
{
    struct ifreq request = {.ifr_flags = IFF_UP};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    check(fd, "socket");
    strcpy(request.ifr_name, "lo");
    check(ioctl(fd, SIOCSIFFLAGS, &request), "lo");
    close(fd);
}

void seal_limits(const char *root)
{
    static const char *files[][2] = {{"sys/net/ipv4/ip_unprivileged_port_start", "0"},
                                     {"sys/net/ipv4/ping_group_range", "0 2147483647"},
                                     {"self/oom_score_adj", "0"}};
    char path[LONGEST];
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/proc/%s", root, files[i][0]);
        write_file(path, files[i][1]);
    }
}

void seal_powers(const struct job *job)
{
    const gid_t groups[] = {0};
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{KEPT, KEPT, 0}, {0, 0, 0}};
    check(setgroups(1, groups), "setgroups");
    // Without no_new_privs a filter needs CAP_SYS_ADMIN: it comes before the capabilities go.
    check(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, job->filter), "seccomp");
    for (int c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
        if (c > 31 || !(KEPT >> c & 1))
            check(prctl(PR_CAPBSET_DROP, c, 0, 0, 0), "PR_CAPBSET_DROP");
    check(syscall(SYS_capset, &header, data), "capset");
}
