// The floor: just the kernel work of one container start from Docker's spec, in C, with nothing around it.
// What a container runtime costs above this is its own. See docs/benchmarks.md.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MOST_HIERARCHIES = 16, LONGEST = 512 };

struct job {
    const char *rootfs;
    const char *cgroup; // below the root of every hierarchy
    const char *etc;    // directory with resolv.conf, hostname and hosts
    const char *layer;  // directory for the upper layer of an overlay, or NULL: the rootfs itself
    const char *stage;  // where an init made ahead waits with its mounts, or NULL
    const void *filter; // struct sock_fprog
    bool v1, v2;
    char **argv;
};

void fail(const char *what) __attribute__((noreturn));
void check(long result, const char *what);
void write_file(const char *path, const char *text);

// cgroups.c
void cgroups_find(struct job *job);
void cgroups_make(const struct job *job);  // directories, device rules, files to join by
int cgroups_directory_v2(void);            // for CLONE_INTO_CGROUP, or -1
void cgroups_join_v1(void);                // in the container's first process
void cgroups_remove(const struct job *job);
void cgroups_mount(const struct job *job, const char *root);

// mounts.c
void mounts_special(const struct job *job, const char *root); // /proc, /sys, /dev and what lies in them
void mounts_mask(const char *root);
void mounts_root(const struct job *job, const char *root);
void mounts_etc(const struct job *job, const char *root);
void mounts_move(const char *stage, const char *root);
void mounts_pivot(const char *root);

// seal.c
void seal_network(void);
void seal_limits(const char *root); // sysctls too: before /proc/sys is read-only
void seal_powers(const struct job *job);
