// pull.c: the floor of a pull: fetch, check both digests, inflate and unpack the layers of one image, in one process.
//
//   pull DIRECTORY PORT THREADS PATH DIFF_ID [PATH DIFF_ID]...
//
// PATH is the blob's on a registry on loopback and ends with its digest; layers are unpacked side by side, each into
// a directory of its own. Two threads per layer: one reads, hashes what came and inflates it, the other hashes what
// came out and writes files. No whiteouts, no extended attributes: the images of the benchmark have none.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <isa-l/igzip_lib.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 512 << 10, BLOCKS = 8, TAR = 512, MOST_THREADS = 16, LONGEST = 4096 };

static void fail(const char *what)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(111);
}

// What one thread has inflated and the other has not yet unpacked.
struct ring {
    unsigned char *block[BLOCKS];
    size_t length[BLOCKS];
    int written, read;
    bool ended;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

struct layer {
    struct ring ring;
    int directory;
    EVP_MD_CTX *plain; // of the tar
    const unsigned char *at;
    size_t left;
    bool holding;
};

static unsigned char *ring_slot(struct ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    while (ring->written - ring->read >= BLOCKS)
        pthread_cond_wait(&ring->changed, &ring->lock);
    pthread_mutex_unlock(&ring->lock);
    return ring->block[ring->written % BLOCKS];
}

static void ring_push(struct ring *ring, size_t length, bool last)
{
    pthread_mutex_lock(&ring->lock);
    ring->length[ring->written++ % BLOCKS] = length;
    ring->ended = last;
    pthread_cond_signal(&ring->changed);
    pthread_mutex_unlock(&ring->lock);
}

static bool next_block(struct layer *layer)
{
    struct ring *ring = &layer->ring;
    pthread_mutex_lock(&ring->lock);
    if (layer->holding) {
        ring->read++;
        pthread_cond_signal(&ring->changed);
    }
    while (ring->read == ring->written && !ring->ended)
        pthread_cond_wait(&ring->changed, &ring->lock);
    layer->holding = ring->read < ring->written;
    pthread_mutex_unlock(&ring->lock);
    if (!layer->holding)
        return false;
    layer->at = ring->block[ring->read % BLOCKS];
    layer->left = ring->length[ring->read % BLOCKS];
    EVP_DigestUpdate(layer->plain, layer->at, layer->left);
    return true;
}

// Takes `length` bytes of the tar: into a file, into memory, or nowhere.
static bool take(struct layer *layer, size_t length, int file, void *into)
{
    while (length) {
        if (!layer->left && !next_block(layer))
            return false;
        size_t n = layer->left < length ? layer->left : length;
        if (file >= 0 && write(file, layer->at, n) != (ssize_t)n)
            fail("write");
        if (into)
            into = (char *)memcpy(into, layer->at, n) + n;
        layer->at += n;
        layer->left -= n;
        length -= n;
    }
    return true;
}

// The path in a pax header, if there is one: "LENGTH path=VALUE\n".
static void read_pax(char *records, size_t length, char *path)
{
    for (char *record = records; record < records + length;) {
        size_t size = strtoul(record, NULL, 10);
        char *key = strchr(record, ' ') + 1;
        if (!strncmp(key, "path=", 5))
            snprintf(path, LONGEST, "%.*s", (int)(record + size - 1 - key - 5), key + 5);
        record += size;
    }
}

static void *unpack(void *argument)
{
    struct layer *layer = argument;
    char header[TAR], path[LONGEST] = "", name[LONGEST];
    while (take(layer, TAR, -1, header)) {
        if (!*header)
            continue; // the two empty blocks at the end, and what pads them
        size_t size = strtoul(header + 124, NULL, 8), padding = (TAR - size % TAR) % TAR;
        mode_t mode = strtoul(header + 100, NULL, 8) & 07777;
        struct timespec times[2] = {{strtoul(header + 136, NULL, 8), 0}};
        times[1] = times[0];
        char kind = header[156];
        if (kind == 'x') {
            char *records = calloc(1, size + 1);
            take(layer, size, -1, records);
            take(layer, padding, -1, NULL);
            read_pax(records, size, path);
            free(records);
            continue;
        }
        if (*path)
            strcpy(name, path);
        else if (header[345])
            snprintf(name, sizeof name, "%.155s/%.100s", header + 345, header);
        else
            snprintf(name, sizeof name, "%.100s", header);
        *path = 0;
        if (kind == '5') {
            for (char *slash = name; (slash = strchr(slash + 1, '/'));) { // parents that the tar does not name
                *slash = 0;
                mkdirat(layer->directory, name, 0755);
                *slash = '/';
            }
            if (mkdirat(layer->directory, name, mode) && errno != EEXIST)
                fail(name);
            fchmodat(layer->directory, name, mode, 0);
            utimensat(layer->directory, name, times, 0);
        } else {
            int file = openat(layer->directory, name, O_CREAT | O_WRONLY | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
            if (file < 0)
                fail(name);
            take(layer, size, file, NULL);
            fchmod(file, mode);
            futimens(file, times);
            close(file);
            take(layer, padding, -1, NULL);
        }
    }
    return NULL;
}

static int request(int port, const char *path)
{
    struct sockaddr_in address = {AF_INET, htons(port), {htonl(INADDR_LOOPBACK)}, {0}};
    int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection < 0 || connect(connection, (void *)&address, sizeof address))
        fail("connect");
    dprintf(connection, "GET %s HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n", path);
    char head[LONGEST];
    size_t n = 0;
    while (n < sizeof head && read(connection, head + n, 1) == 1)
        if (++n >= 4 && !memcmp(head + n - 4, "\r\n\r\n", 4))
            break;
    if (n < 12 || memcmp(head + 8, " 200", 4))
        errno = EPROTO, fail(path);
    return connection;
}

static void check_digest(EVP_MD_CTX *context, const char *expected, const char *what)
{
    unsigned char digest[32];
    char text[65];
    EVP_DigestFinal(context, digest, NULL);
    EVP_MD_CTX_free(context);
    for (int i = 0; i < 32; i++)
        sprintf(text + 2 * i, "%02x", digest[i]);
    if (strcmp(text, expected))
        errno = EBADMSG, fail(what);
}

static EVP_MD_CTX *new_digest(void)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_DigestInit(context, EVP_sha256());
    return context;
}

static void pull(const char *directory, int port, const char *path, const char *diff_id)
{
    struct layer *layer = calloc(1, sizeof *layer);
    struct ring *ring = &layer->ring;
    pthread_t thread;
    pthread_mutex_init(&ring->lock, NULL);
    pthread_cond_init(&ring->changed, NULL);
    for (int i = 0; i < BLOCKS; i++)
        ring->block[i] = malloc(BLOCK);
    if (mkdir(directory, 0755) || (layer->directory = open(directory, O_DIRECTORY | O_RDONLY | O_CLOEXEC)) < 0)
        fail(directory);
    layer->plain = new_digest();
    pthread_create(&thread, NULL, unpack, layer);

    EVP_MD_CTX *compressed = new_digest();
    unsigned char *input = malloc(BLOCK);
    struct inflate_state state;
    isal_inflate_init(&state);
    state.crc_flag = ISAL_GZIP;
    state.avail_in = 0;
    int connection = request(port, path);
    ssize_t n = 1;
    for (bool done = false; !done;) {
        state.next_out = ring_slot(ring);
        state.avail_out = BLOCK;
        while (state.avail_out && !done) {
            if (!state.avail_in) {
                if ((n = read(connection, input, BLOCK)) <= 0)
                    errno = EBADMSG, fail(path);
                EVP_DigestUpdate(compressed, input, n);
                state.next_in = input;
                state.avail_in = n;
            }
            if (isal_inflate(&state) < 0)
                errno = EBADMSG, fail(path);
            done = state.block_state == ISAL_BLOCK_FINISH;
        }
        ring_push(ring, BLOCK - state.avail_out, done);
    }
    while ((n = read(connection, input, BLOCK)) > 0)
        EVP_DigestUpdate(compressed, input, n);
    close(connection);
    pthread_join(thread, NULL);
    check_digest(compressed, strrchr(path, ':') + 1, path);
    check_digest(layer->plain, diff_id, "diff id");
    for (int i = 0; i < BLOCKS; i++)
        free(ring->block[i]);
    close(layer->directory);
    free(input);
    free(layer);
}

static struct {
    const char *directory;
    int port, count, next;
    char **layers;
    pthread_mutex_t lock;
} job = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *work(void *unused)
{
    (void)unused;
    for (;;) {
        char directory[LONGEST];
        pthread_mutex_lock(&job.lock);
        int number = job.next++;
        pthread_mutex_unlock(&job.lock);
        if (number >= job.count)
            return NULL;
        snprintf(directory, sizeof directory, "%s/%d", job.directory, number);
        pull(directory, job.port, job.layers[2 * number], job.layers[2 * number + 1]);
    }
}

int main(int argc, char **argv)
{
    pthread_t threads[MOST_THREADS];
    if (argc < 6 || argc % 2) {
        fprintf(stderr, "floor: pull DIRECTORY PORT THREADS PATH DIFF_ID...\n");
        return 2;
    }
    umask(0);
    job.directory = argv[1];
    job.port = atoi(argv[2]);
    int count = atoi(argv[3]) < MOST_THREADS ? atoi(argv[3]) : MOST_THREADS;
    job.layers = argv + 4;
    job.count = (argc - 4) / 2;
    if (mkdir(job.directory, 0755))
        fail(job.directory);
    for (int i = 0; i < count; i++)
        pthread_create(&threads[i], NULL, work, NULL);
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    // What an engine acknowledges must survive a power cut. On a tmpfs this costs nothing.
    int directory = open(job.directory, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    if (directory < 0 || syncfs(directory))
        fail(job.directory);
    return 0;
}
