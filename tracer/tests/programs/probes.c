/* Shows records at probes like the reference driver's, for tests of how these are found:
 * compiled as whatever a test wants, without any header.
 *
 * Two threads take turns by queue: `probes COUNT` waits until somebody watches, shows
 * COUNT records of each thread's queue, and ends.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

extern int usleep(u32);
extern int getpid(void);
extern int atoi(const char *);
extern int puts(const char *);
extern int pthread_create(u64 *, const void *, void *(*)(void *), void *);
extern int pthread_join(u64, void **);

__attribute__((section(".probes"), used)) volatile u16 watching = 0;

#define PROBE(name)                                                                    \
    __attribute__((noinline)) static void fire_##name(const void *record,              \
                                                      const void *payload, u64 len)    \
    {                                                                                  \
        __asm__ volatile("990: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00\n"                   \
                         ".pushsection .note.stapsdt, \"\", \"note\"\n"                \
                         ".balign 4\n"                                                 \
                         ".4byte 992f-991f, 994f-993f, 3\n"                            \
                         "991: .asciz \"stapsdt\"\n"                                   \
                         "992: .balign 4\n"                                            \
                         "993: .8byte 990b\n"                                          \
                         ".8byte 0\n"                                                  \
                         ".8byte watching\n"                                           \
                         ".asciz \"virtscope\"\n"                                      \
                         ".asciz \"" #name "\"\n"                                      \
                         ".asciz \"8@%%rdi 8@%%rsi 8@%%rdx 4@$" VERSION "\"\n"         \
                         "994: .balign 4\n"                                            \
                         ".popsection\n"                                               \
                         :                                                             \
                         : "D"(record), "S"(payload), "d"(len)                         \
                         : "memory");                                                  \
    }

PROBE(record)
PROBE(queue)

/* Bytes as in the record's page of the book. */
struct record {
    u64 time, token;
    u32 sequence, queue, process, thread;
    u16 generation, producer;
    u8 kind, context;
    u16 flags;
    u8 body[24];
};

static int count;
/* Longer than the longest payload that is kept. */
static u8 payload[20000];

static void *show(void *queue)
{
    /* Written, so that its page is there: a probe cannot wait for one. */
    volatile char name[] = "virtio0/made-up";
    struct record facts = {.queue = (u32)(u64)queue, .process = getpid(), .producer = 2,
                           .kind = 10, .context = 1, .body = {8}};
    struct record record = {.queue = (u32)(u64)queue, .process = getpid(), .kind = 4,
                            .context = 1};
    fire_queue(&facts, (const void *)name, sizeof(name) - 1);
    for (int n = 0; n < count; n++) {
        record.sequence = n;
        record.token = n;
        fire_record(&record, payload, 997 * n % sizeof(payload));
    }
    return 0;
}

int main(int argc, char **argv)
{
    u64 threads[2];
    count = argc > 1 ? atoi(argv[1]) : 1;
    for (u64 n = 0; n < sizeof(payload); n++)
        payload[n] = n * 7;
    while (!watching)
        usleep(1000);
    /* Both probes are attached a moment after the first is counted. */
    usleep(300000);
    for (u64 n = 0; n < 2; n++)
        pthread_create(&threads[n], 0, show, (void *)n);
    for (u64 n = 0; n < 2; n++)
        pthread_join(threads[n], 0);
    return 0;
}
