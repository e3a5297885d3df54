// The container's file systems: those of Docker's spec, in its order.
#define _GNU_SOURCE
#include "floor.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static const unsigned long SAFE = MS_NOSUID | MS_NODEV | MS_NOEXEC;

static const char *join(const char *root, const char *path)
{
    static char joined[LONGEST];
    snprintf(joined, sizeof joined, "%s%s", root, path);
    return joined;
}

static void nodes(const char *root)
{
    static const struct {
        const char *path;
        int major, minor;
    } devices[] = {{"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
                   {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0}};
    static const char *links[][2] = {{"/proc/self/fd", "/dev/fd"},         {"/proc/self/fd/0", "/dev/stdin"},
                                     {"/proc/self/fd/1", "/dev/stdout"},   {"/proc/self/fd/2", "/dev/stderr"},
                                     {"/proc/kcore", "/dev/core"},         {"pts/ptmx", "/dev/ptmx"}};
    for (int i = 0; i < 6; i++) {
        const char *path = join(root, devices[i].path);
        check(mknod(path, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)), path);
    }
    for (int i = 0; i < 6; i++)
        check(symlink(links[i][0], join(root, links[i][1])), links[i][1]);
    check(mkdir(join(root, "/dev/pts"), 0755), "/dev/pts");
    check(mkdir(join(root, "/dev/shm"), 01777), "/dev/shm");
    check(mkdir(join(root, "/dev/mqueue"), 0755), "/dev/mqueue");
}

void mounts_special(const struct job *job, const char *root)
{
    check(mount("proc", join(root, "/proc"), "proc", SAFE, NULL), "/proc");
    check(mount("tmpfs", join(root, "/dev"), "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"), "/dev");
    nodes(root);
    check(mount("devpts", join(root, "/dev/pts"), "devpts", MS_NOSUID | MS_NOEXEC,
                "newinstance,ptmxmode=0666,mode=0620,gid=5"), "/dev/pts");
    check(mount("sysfs", join(root, "/sys"), "sysfs", SAFE | MS_RDONLY, NULL), "/sys");
    cgroups_mount(job, root);
    check(mount("mqueue", join(root, "/dev/mqueue"), "mqueue", SAFE, NULL), "/dev/mqueue");
    check(mount("shm", join(root, "/dev/shm"), "tmpfs", SAFE, "mode=1777,size=65536k"), "/dev/shm");
}

void mounts_mask(const char *root)
{
    static const char *readonly[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
    static const char *masked[] = {"/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys",
                                   "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                                   "/proc/sched_debug", "/proc/scsi", "/sys/firmware"};
    char null[LONGEST];
    struct stat st;
    for (size_t i = 0; i < sizeof readonly / sizeof *readonly; i++) {
        const char *path = join(root, readonly[i]);
        if (mount(path, path, NULL, MS_BIND | MS_REC, NULL)) {
            if (errno != ENOENT)
                fail(path);
            continue;
        }
        check(mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | SAFE, NULL), path);
    }
    strcpy(null, join(root, "/dev/null"));
    for (size_t i = 0; i < sizeof masked / sizeof *masked; i++) {
        const char *path = join(root, masked[i]);
        if (stat(path, &st))
            continue;
        if (S_ISDIR(st.st_mode))
            check(mount("tmpfs", path, "tmpfs", MS_RDONLY, "size=0k"), path);
        else
            check(mount(null, path, NULL, MS_BIND, NULL), path);
    }
}

// An overlay over the rootfs as an engine makes it, or the rootfs itself as an OCI bundle has it.
void mounts_root(const struct job *job, const char *root)
{
    char options[3 * LONGEST];
    if (!job->layer) {
        check(mount(job->rootfs, root, NULL, MS_BIND | MS_REC, NULL), root);
        return;
    }
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s/upper,workdir=%s/work", job->rootfs, job->layer,
             job->layer);
    check(mount("overlay", root, "overlay", 0, options), "overlay");
}

void mounts_etc(const struct job *job, const char *root)
{
    static const char *files[] = {"resolv.conf", "hostname", "hosts"};
    char from[LONGEST], to[LONGEST];
    for (int i = 0; i < 3; i++) {
        snprintf(from, sizeof from, "%s/%s", job->etc, files[i]);
        snprintf(to, sizeof to, "%s/etc/%s", root, files[i]);
        int fd = open(to, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
        check(fd, to);
        close(fd);
        check(mount(from, to, NULL, MS_BIND | MS_REC, NULL), to);
        check(mount(NULL, to, NULL, MS_PRIVATE | MS_REC, NULL), to);
    }
}

void mounts_move(const char *stage, const char *root)
{
    static const char *trees[] = {"/proc", "/sys", "/dev"};
    char from[LONGEST];
    for (int i = 0; i < 3; i++) {
        strcpy(from, join(stage, trees[i]));
        check(mount(from, join(root, trees[i]), NULL, MS_MOVE, NULL), trees[i]);
    }
}

void mounts_pivot(const char *root)
{
    check(chdir(root), root);
    check(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    check(umount2(".", MNT_DETACH), "umount2");
    check(chdir("/"), "/");
}
