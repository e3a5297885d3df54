// spawn.c: starts commands for the benchmarks and times them, the same way for every engine.
//
// A small process of its own, because the measuring one must not be part of the figure: a fork from a large
// parent costs milliseconds, and the peak memory of a child begins at its parent's. posix_spawn is
// CLONE_VM|CLONE_VFORK here, and this process is under 2 MB.
//
//   spawn OUTPUT [unmount=PATH | cgroup2=PATH]...
//
// OUTPUT takes what the commands print. The rest is done once in a mount namespace of this process's own, outside of
// what is timed: a PATH is unmounted (crun refuses hosts with hybrid cgroups, and is shown a pure v1 tree in this
// way), or replaced by the v2 hierarchy (a pure v2 host's view).
//
// A request on stdin: a 32-bit length in the machine's order, then as many bytes: words that end with a NUL.
//   run ARGV...       runs it to its end
//   until NS          waits until CLOCK_MONOTONIC is NS: several of these processes begin at once
//   gone PID          waits until that adopted process has ended
// An answer on stdout: "BEGIN_NS END_NS CPU_US PEAK_KIB STATUS\n"; the status is wait(2)'s, or minus an errno.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { MOST_BYTES = 1 << 16, MOST_WORDS = 256 };

struct answer {
    uint64_t begin, end;
    long cpu, peak, status;
};

static void fail(const char *what)
{
    fprintf(stderr, "spawn: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static long microseconds(struct timeval t)
{
    return t.tv_sec * 1000000L + t.tv_usec;
}

static struct answer run(char **argv, int output)
{
    struct answer answer = {0};
    struct rusage usage;
    posix_spawn_file_actions_t files;
    pid_t pid, found;
    int status;

    if (ftruncate(output, 0) || lseek(output, 0, SEEK_SET))
        fail("output");
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, output, 1);
    posix_spawn_file_actions_adddup2(&files, output, 2);

    answer.begin = now();
    int error = posix_spawnp(&pid, argv[0], &files, NULL, argv, environ);
    if (error) {
        answer.status = -error;
    } else {
        // Monitors that detach themselves become children of this process (see main). Some commands wait until
        // a process is really gone, so they are reaped as they end.
        while ((found = wait4(-1, &status, 0, &usage)) != pid)
            if (found < 0)
                fail("wait4");
        answer.status = status;
        answer.cpu = microseconds(usage.ru_utime) + microseconds(usage.ru_stime);
        answer.peak = usage.ru_maxrss;
    }
    answer.end = now();
    posix_spawn_file_actions_destroy(&files);
    return answer;
}

static struct answer until(uint64_t when)
{
    struct timespec t = {.tv_sec = when / 1000000000, .tv_nsec = when % 1000000000};
    struct answer answer = {.begin = now()};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
    answer.end = now();
    return answer;
}

static struct answer gone(pid_t pid)
{
    struct answer answer = {.begin = now()};
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ; // ECHILD: it was reaped while a command ran
    answer.end = now();
    return answer;
}

static int read_whole(void *into, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t n = read(0, (char *)into + done, length - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return 0;
        done += n;
    }
    return 1;
}

int main(int argc, char **argv)
{
    static char bytes[MOST_BYTES];
    char *words[MOST_WORDS + 1];
    uint32_t length;

    if (argc < 2)
        errno = EINVAL, fail("usage: spawn OUTPUT [unmount=PATH | cgroup2=PATH]...");
    int output = open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC | O_APPEND, 0600);
    if (output < 0)
        fail(argv[1]);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1))
        fail("PR_SET_CHILD_SUBREAPER");
    // The same for all, whether something is unmounted or not.
    if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
        fail("unshare(CLONE_NEWNS)");
    for (int i = 2; i < argc; i++) {
        char *path = strchr(argv[i], '=');
        if (!path++ || umount2(path, MNT_DETACH))
            fail(argv[i]);
        if (!strncmp(argv[i], "cgroup2=", 8) && mount("cgroup2", path, "cgroup2", 0, NULL))
            fail(argv[i]);
    }

    while (read_whole(&length, sizeof length)) {
        if (length < 2 || length > MOST_BYTES || !read_whole(bytes, length) || bytes[length - 1])
            errno = EPROTO, fail("request");
        int count = 0;
        for (char *word = bytes; word < bytes + length && count < MOST_WORDS; word += strlen(word) + 1)
            words[count++] = word;
        words[count] = NULL;
        struct answer answer;
        if (count > 1 && !strcmp(words[0], "run"))
            answer = run(words + 1, output);
        else if (count == 2 && !strcmp(words[0], "until"))
            answer = until(strtoull(words[1], NULL, 10));
        else if (count == 2 && !strcmp(words[0], "gone"))
            answer = gone(atoi(words[1]));
        else
            errno = EPROTO, fail(words[0]);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ; // adopted processes that have ended
        printf("%llu %llu %ld %ld %ld\n", (unsigned long long)answer.begin, (unsigned long long)answer.end,
               answer.cpu, answer.peak, answer.status);
        fflush(stdout);
    }
    return 0;
}
