// start.c: one container from Docker's spec, made, run, waited for and removed: the floor of `runtime run`.
//
//   start --rootfs DIR --cgroup NAME --etc DIR --filter FILE [--layer DIR] [--v2-only] [--parked DIR] ARGV...
//
// The filter is made ahead by filter.c, as a runtime may ship it compiled. --v2-only leaves the v1 hierarchies out: then
// CLONE_INTO_CGROUP spares the join, and with it the wait for an RCU grace period. --parked is a server: an init
// with its cgroups, namespaces and mounts waits in DIR before it is asked for; each line on stdin starts it, and
// the answer is how long that took, in nanoseconds.
#define _GNU_SOURCE
#include "floor.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void fail(const char *what)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(111);
}

void check(long result, const char *what)
{
    if (result < 0)
        fail(what);
}

void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    check(fd, path);
    check(write(fd, text, strlen(text)), path);
    close(fd);
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static struct sock_fprog read_filter(const char *path)
{
    static struct sock_filter instructions[BPF_MAXINSNS];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    check(fd, path);
    ssize_t n = read(fd, instructions, sizeof instructions);
    check(n - 1, path);
    close(fd);
    return (struct sock_fprog){.len = n / sizeof *instructions, .filter = instructions};
}

// The container's first process; `parked` are the pipe it is woken by and the one on which it says that it waits.
static void __attribute__((noreturn)) first_process(const struct job *job, const int parked[2])
{
    static char *environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                  "HOSTNAME=bench", NULL};
    char program[LONGEST], byte = 0, merged[LONGEST];

    if (job->v1)
        cgroups_join_v1();
    check(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private");
    seal_network();
    check(sethostname("bench", 5), "sethostname");
    umask(0);
    snprintf(merged, sizeof merged, "%s/merged", job->layer ? job->layer : "");
    const char *root = job->layer ? merged : job->rootfs;
    if (job->stage) {
        check(mount("tmpfs", job->stage, "tmpfs", 0, "size=1m"), job->stage);
        for (const char **name = (const char *[]){"proc", "sys", "dev", NULL}; *name; name++) {
            char path[LONGEST];
            snprintf(path, sizeof path, "%s/%s", job->stage, *name);
            check(mkdir(path, 0755), path);
        }
        mounts_special(job, job->stage);
        seal_limits(job->stage);
        mounts_mask(job->stage);
        check(write(parked[1], &byte, 1), "parked");
        check(read(parked[0], &byte, 1), "woken");
        mounts_root(job, root);
        mounts_move(job->stage, root);
    } else {
        mounts_root(job, root);
        mounts_special(job, root);
    }
    mounts_etc(job, root);
    mounts_pivot(root);
    if (!job->stage) {
        seal_limits("");
        mounts_mask("");
    }
    seal_powers(job);
    snprintf(program, sizeof program, "/bin/%s", job->argv[0]);
    execve(program, job->argv, environment);
    fail(program);
}

static pid_t spawn(const struct job *job, const int parked[2])
{
    struct clone_args arguments = {
        .flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET,
        .exit_signal = SIGCHLD,
    };
    if (job->v2) {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroups_directory_v2();
    }
    pid_t pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    check(pid, "clone3");
    if (!pid)
        first_process(job, parked);
    return pid;
}

static void layer_make(const struct job *job)
{
    char path[LONGEST];
    check(mkdir(job->layer, 0755), job->layer);
    for (const char **name = (const char *[]){"upper", "work", "merged", NULL}; *name; name++) {
        snprintf(path, sizeof path, "%s/%s", job->layer, *name);
        check(mkdir(path, 0755), path);
    }
}

// What the start itself put there, deepest first.
static void layer_remove(const struct job *job)
{
    static const char *files[] = {"upper/etc/resolv.conf", "upper/etc/hostname", "upper/etc/hosts"};
    static const char *directories[] = {"upper/etc", "upper", "work/work", "work", "merged", ""};
    char path[LONGEST];
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", job->layer, files[i]);
        unlink(path);
    }
    for (int i = 0; i < 6; i++) {
        snprintf(path, sizeof path, "%s/%s", job->layer, directories[i]);
        rmdir(path);
    }
}

static int life(const struct job *job)
{
    int status;
    if (job->layer)
        layer_make(job);
    cgroups_make(job);
    pid_t pid = spawn(job, NULL);
    check(waitpid(pid, &status, 0), "waitpid");
    cgroups_remove(job);
    if (job->layer)
        layer_remove(job);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int serve_parked(struct job *job)
{
    char line[16], cgroup[LONGEST], byte = 0;
    const char *base = job->cgroup;
    for (int number = 0;; number++) {
        int wake[2], waits[2], status;
        snprintf(cgroup, sizeof cgroup, "%s-%d", base, number);
        job->cgroup = cgroup;
        cgroups_make(job);
        check(pipe2(wake, O_CLOEXEC), "pipe");
        check(pipe2(waits, O_CLOEXEC), "pipe");
        pid_t pid = spawn(job, (int[]){wake[0], waits[1]});
        close(waits[1]);
        if (read(waits[0], &byte, 1) != 1)
            return 111; // it has said why
        printf("ready\n");
        fflush(stdout);
        bool asked = fgets(line, sizeof line, stdin);
        uint64_t begin = now();
        if (asked)
            check(write(wake[1], &byte, 1), "wake");
        else
            kill(pid, SIGKILL);
        check(waitpid(pid, &status, 0), "waitpid");
        cgroups_remove(job);
        uint64_t took = now() - begin;
        for (int i = 0; i < 2; i++)
            close(wake[i]);
        close(waits[0]);
        if (!asked)
            return 0;
        if (status)
            return 111;
        printf("%llu\n", (unsigned long long)took);
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    enum { ROOTFS = 'r', CGROUP = 'c', ETC = 'e', FILTER = 'f', LAYER = 'l', V2_ONLY = '2', PARKED = 'p' };
    static const struct option options[] = {
        {"rootfs", 1, NULL, ROOTFS},   {"cgroup", 1, NULL, CGROUP},    {"etc", 1, NULL, ETC},
        {"filter", 1, NULL, FILTER},   {"layer", 1, NULL, LAYER},      {"v2-only", 0, NULL, V2_ONLY},
        {"parked", 1, NULL, PARKED},   {NULL, 0, NULL, 0},
    };
    struct job job = {.v1 = true};
    const char *filter = NULL;
    int option;
    while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1)
        switch (option) {
        case ROOTFS: job.rootfs = optarg; break;
        case CGROUP: job.cgroup = optarg; break;
        case ETC: job.etc = optarg; break;
        case FILTER: filter = optarg; break;
        case LAYER: job.layer = optarg; break;
        case V2_ONLY: job.v1 = false; break;
        case PARKED: job.stage = optarg; break;
        default: return 2;
        }
    job.argv = argv + optind;
    if (!job.rootfs || !job.cgroup || !job.etc || !filter || optind >= argc) {
        fprintf(stderr, "floor: --rootfs, --cgroup, --etc, --filter and a command are needed\n");
        return 2;
    }
    struct sock_fprog program = read_filter(filter);
    job.filter = &program;
    cgroups_find(&job);
    return job.stage ? serve_parked(&job) : life(&job);
}
