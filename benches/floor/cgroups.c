// The container's control groups: one directory per v1 hierarchy, one on v2, and Docker's device rules.
#define _GNU_SOURCE
#include "floor.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TOP "/sys/fs/cgroup"

static char *v1[MOST_HIERARCHIES];
static int count_v1;
static const char *v2 = ""; // its root, if there is one
static int join[MOST_HIERARCHIES], directory_v2 = -1;

static const struct rule {
    char type;
    int major, minor; // -1 is any
    const char *access;
} allowed[] = {
    {'c', 1, 3, "rwm"}, {'c', 1, 5, "rwm"}, {'c', 1, 7, "rwm"},    {'c', 1, 8, "rwm"},  {'c', 1, 9, "rwm"},
    {'c', 5, 0, "rwm"}, {'c', 5, 1, "rwm"}, {'c', 5, 2, "rwm"},    {'c', 136, -1, "rwm"}, {'c', -1, -1, "m"},
    {'b', -1, -1, "m"},
};
enum { RULES = sizeof allowed / sizeof *allowed };

void cgroups_find(struct job *job)
{
    struct stat st;
    char path[LONGEST];

    if (!access(TOP "/cgroup.controllers", F_OK))
        v2 = TOP;
    else if (!access(TOP "/unified/cgroup.procs", F_OK))
        v2 = TOP "/unified";
    struct dirent **entries;
    int n = scandir(TOP, &entries, NULL, alphasort);
    check(n, TOP);
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, TOP "/%s/cgroup.procs", entries[i]->d_name);
        bool link = entries[i]->d_type == DT_LNK; // cpu -> cpu,cpuacct
        if (entries[i]->d_name[0] != '.' && !link && strcmp(entries[i]->d_name, "unified") &&
            strcmp(v2, TOP) && !stat(path, &st) && count_v1 < MOST_HIERARCHIES)
            v1[count_v1++] = strdup(entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    job->v1 = job->v1 && count_v1 > 0;
    job->v2 = *v2;
}

static void make_directory(const char *path)
{
    char parent[LONGEST];
    if (!mkdir(path, 0755) || errno == EEXIST)
        return;
    strcpy(parent, path);
    *strrchr(parent, '/') = 0;
    check(mkdir(parent, 0755), parent);
    check(mkdir(path, 0755), path);
}

// A cpuset takes no process before it has CPUs and memory nodes, and neither has one below an empty one.
static void fill_cpuset(const char *cgroup)
{
    const char *files[] = {"cpuset.cpus", "cpuset.mems"};
    char path[LONGEST], text[LONGEST], place[LONGEST];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, TOP "/cpuset/%s", files[i]);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        check(fd, path);
        ssize_t n = read(fd, text, sizeof text - 1);
        close(fd);
        text[n > 0 ? n : 0] = 0;
        strcpy(place, cgroup);
        char *slash = strchr(place, '/');
        if (slash) {
            *slash = 0;
            snprintf(path, sizeof path, TOP "/cpuset/%.200s/%s", place, files[i]);
            write_file(path, text);
        }
        snprintf(path, sizeof path, TOP "/cpuset/%.200s/%s", cgroup, files[i]);
        write_file(path, text);
    }
}

static void allow_devices_v1(const char *cgroup)
{
    char path[LONGEST], line[64];
    snprintf(path, sizeof path, TOP "/devices/%s/devices.deny", cgroup);
    write_file(path, "a");
    snprintf(path, sizeof path, TOP "/devices/%s/devices.allow", cgroup);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    check(fd, path);
    for (int i = 0; i < RULES; i++) {
        char major[16] = "*", minor[16] = "*";
        if (allowed[i].major >= 0)
            snprintf(major, sizeof major, "%d", allowed[i].major);
        if (allowed[i].minor >= 0)
            snprintf(minor, sizeof minor, "%d", allowed[i].minor);
        int n = snprintf(line, sizeof line, "%c %s:%s %s", allowed[i].type, major, minor, allowed[i].access);
        check(write(fd, line, n), line);
    }
    close(fd);
}

// The same rules as a program on the v2 directory: r2 type, r3 access, r4 major, r5 minor.
static void allow_devices_v2(int directory)
{
    struct bpf_insn program[8 + RULES * 8];
    int n = 0;
#define INSN(c, d, s, o, i) program[n++] = (struct bpf_insn){.code = c, .dst_reg = d, .src_reg = s, .off = o, .imm = i}
    INSN(BPF_LDX | BPF_MEM | BPF_W, 2, 1, 0, 0);
    INSN(BPF_ALU | BPF_MOV | BPF_X, 3, 2, 0, 0);
    INSN(BPF_ALU | BPF_AND | BPF_K, 2, 0, 0, 0xffff);
    INSN(BPF_ALU | BPF_RSH | BPF_K, 3, 0, 0, 16);
    INSN(BPF_LDX | BPF_MEM | BPF_W, 4, 1, 4, 0);
    INSN(BPF_LDX | BPF_MEM | BPF_W, 5, 1, 8, 0);
    for (int i = 0; i < RULES; i++) {
        const struct rule *rule = &allowed[i];
        bool only_mknod = !strcmp(rule->access, "m");
        int after = 2 + (rule->major >= 0) + (rule->minor >= 0) + (only_mknod ? 1 : 0);
        INSN(BPF_JMP | BPF_JNE | BPF_K, 2, 0, after--, rule->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
        if (only_mknod)
            INSN(BPF_JMP | BPF_JNE | BPF_K, 3, 0, after--, BPF_DEVCG_ACC_MKNOD);
        if (rule->major >= 0)
            INSN(BPF_JMP | BPF_JNE | BPF_K, 4, 0, after--, rule->major);
        if (rule->minor >= 0)
            INSN(BPF_JMP | BPF_JNE | BPF_K, 5, 0, after--, rule->minor);
        INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1);
        INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
    }
    INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0);
    INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
#undef INSN
    union bpf_attr load = {.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE, .insn_cnt = n};
    load.insns = (uint64_t)program;
    load.license = (uint64_t)"Apache-2.0";
    int fd = syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load);
    check(fd, "BPF_PROG_LOAD");
    union bpf_attr attach = {0};
    attach.target_fd = directory;
    attach.attach_bpf_fd = fd;
    attach.attach_type = BPF_CGROUP_DEVICE;
    check(syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach), "BPF_PROG_ATTACH");
    close(fd);
}

void cgroups_make(const struct job *job)
{
    char path[LONGEST];
    for (int i = 0; job->v1 && i < count_v1; i++) {
        snprintf(path, sizeof path, TOP "/%s/%s", v1[i], job->cgroup);
        make_directory(path);
        if (!strcmp(v1[i], "cpuset"))
            fill_cpuset(job->cgroup);
        if (!strcmp(v1[i], "devices"))
            allow_devices_v1(job->cgroup);
        strcat(path, "/tasks"); // one thread: cgroup.procs would wait for an RCU grace period
        check(join[i] = open(path, O_WRONLY | O_CLOEXEC), path);
    }
    if (job->v2) {
        snprintf(path, sizeof path, "%s/%s", v2, job->cgroup);
        make_directory(path);
        check(directory_v2 = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), path);
        if (!job->v1)
            allow_devices_v2(directory_v2);
    }
}

int cgroups_directory_v2(void)
{
    return directory_v2;
}

void cgroups_join_v1(void)
{
    for (int i = 0; i < MOST_HIERARCHIES; i++)
        if (join[i] > 0)
            check(write(join[i], "0", 1), "tasks");
}

static void remove_directory(const char *path)
{
    // A process that was reaped leaves its group a moment later.
    for (int tries = 0; rmdir(path) && errno == EBUSY && tries < 2000; tries++)
        usleep(100);
}

void cgroups_remove(const struct job *job)
{
    char path[LONGEST];
    for (int i = 0; job->v1 && i < count_v1; i++) {
        close(join[i]);
        join[i] = 0;
        snprintf(path, sizeof path, TOP "/%s/%s", v1[i], job->cgroup);
        remove_directory(path);
    }
    if (job->v2) {
        close(directory_v2);
        snprintf(path, sizeof path, "%s/%s", v2, job->cgroup);
        remove_directory(path);
    }
}

// Read-only in the container: its own directories, since Docker's spec for v1 has no cgroup namespace.
void cgroups_mount(const struct job *job, const char *root)
{
    const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    char from[LONGEST], to[LONGEST];
    snprintf(to, sizeof to, "%s" TOP, root);
    if (!job->v1) {
        if (!job->v2)
            return;
        snprintf(from, sizeof from, "%s/%s", v2, job->cgroup);
        check(mount(from, to, NULL, MS_BIND, NULL), to);
        check(mount(NULL, to, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, NULL), to);
        return;
    }
    check(mount("tmpfs", to, "tmpfs", flags, "mode=755"), to);
    for (int i = 0; i < count_v1 + (*v2 != 0); i++) {
        const char *name = i < count_v1 ? v1[i] : "unified";
        snprintf(from, sizeof from, TOP "/%.64s/%.200s", name, job->cgroup);
        snprintf(to, sizeof to, "%.200s" TOP "/%.64s", root, name);
        check(mkdir(to, 0755), to);
        check(mount(from, to, NULL, MS_BIND, NULL), to);
        check(mount(NULL, to, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, NULL), to);
    }
    snprintf(to, sizeof to, "%s" TOP, root);
    check(mount(NULL, to, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, NULL), to);
}
