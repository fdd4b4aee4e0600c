// Gives a datagram to the socket of the worker that owns its Call-ID.
//
// Run by the kernel for each datagram of a SO_REUSEPORT group. It finds the Call-ID as sip::call_key does,
// and hashes it as worker::shard does; where it is not sure of the same result it chooses nothing: the
// kernel's own hash over both ends does then, and the worker that gets the message hands it over.
//
// Idea: 64 bytes at a time become a mask of their LFs, whose bits are taken one by one; behind each a line
// begins. One step of the scan is one window or one line, so the loop's body is small, and the verifier,
// which goes through it once and not once a step (bpf_loop, Linux 5.17), is done in milliseconds.
//
// Little-endian only. Not followed, and so left to the hand-over: a folded or empty Call-ID, one of more than
// 128 bytes or beyond the first 2048, and eight or more blanks or line ends in a place where one is usual.

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

#ifndef HOST // the test of the scan compiles it for the processor, and brings its own kernel

#define SEC(name) __attribute__((section(name), used))
#define UINT(name, value) int(*name)[value]

// From linux/bpf.h, so that nothing but a compiler is needed.
enum { MAP_TYPE_PERCPU_ARRAY = 6, MAP_TYPE_REUSEPORT_SOCKARRAY = 20, SK_PASS = 1 };

struct sk_reuseport_md {
    u64 data;
    u64 data_end;
    u32 len; // of the UDP header and all behind it
};

static void *(*map_lookup_elem)(const void *map, const void *key) = (void *)1;
static long (*skb_load_bytes)(const void *packet, u32 offset, void *to, u32 len) = (void *)26;
static long (*sk_select_reuseport)(void *packet, void *map, void *key, u64 flags) = (void *)82;
static long (*loop)(u32 steps, void *step, void *context, u64 flags) = (void *)181;

#endif

#define LIMIT 2048      // bytes that are looked at
#define WINDOW 64       // bytes that one step looks at
#define STEPS 128       // windows and lines: enough for LIMIT bytes of ordinary lines
#define CALL_ID_MAX 128 // bytes
#define UDP_HEADER 8
#define TOPS 0x8080808080808080 // of eight bytes

enum { GO_ON, STOP };

// The shard hash and what it is spread over; written before the program is loaded.
const volatile u64 key_low = 1, key_high = 1, factor = 1, start_sum = 1, workers = 1;

// The bytes, and zeros behind them: as much as any reader may look too far.
struct text {
    u8 bytes[LIMIT + CALL_ID_MAX + WINDOW];
};

struct scan {
    struct text *text;
    u64 lines;  // the LFs of the window that were not taken yet, the first lowest
    u64 begun;  // the bits of the first window that are not in front of the start line; then all
    u32 window; // where it begins
    u32 next;   // where the next one begins
    u32 len;    // of the text
    u32 cut;    // the datagram goes on behind it
    u32 value;  // where the value of the Call-ID begins; 0: not found yet
    u32 found;  // `owner` is known
    u32 owner;
};

#ifndef HOST

struct {
    UINT(type, MAP_TYPE_PERCPU_ARRAY);
    UINT(key_size, 4);
    UINT(value_size, sizeof(struct text));
    UINT(max_entries, 1);
} scratch SEC(".maps");

// By worker. The loader knows how many.
struct {
    UINT(type, MAP_TYPE_REUSEPORT_SOCKARRAY);
    UINT(key_size, 4);
    UINT(value_size, 4);
    UINT(max_entries, 1);
} sockets SEC(".maps");

#endif

static u64 word_at(const u8 *at) { return *(const u64 *)at; }

// The top bit of each byte of `word` that is `byte`.
static u64 equal(u64 word, u8 byte) {
    const u64 low = 0x7f7f7f7f7f7f7f7f;
    u64 other = word ^ (byte * 0x0101010101010101ull);
    return ~(((other & low) + low) | other | low);
}

// A bit for each LF among the eight bytes, the first lowest.
static u64 line_feeds(u64 word) { return ((equal(word, '\n') >> 7) * 0x0102040810204080) >> 56; }

// How many bits are below the only one that is set.
static u32 place_of(u64 bit) {
    u64 ones = bit - 1;
    ones -= (ones >> 1) & 0x5555555555555555;
    ones = (ones & 0x3333333333333333) + ((ones >> 2) & 0x3333333333333333);
    ones = (ones + (ones >> 4)) & 0x0f0f0f0f0f0f0f0f;
    return (ones * 0x0101010101010101) >> 56;
}

static u64 absorb(u64 sum, u64 word) {
    u32 low = (u32)word + (u32)key_low;
    u32 high = (u32)(word >> 32) + (u32)key_high;
    return sum * factor + (u64)low * high;
}

// The owner of the Call-ID of `len` bytes at `at`; what is read beyond it counts for nothing.
static u32 owner_of(const u8 *at, u32 len) {
    u64 sum = start_sum ^ len;
    for (u32 word = 0; word < CALL_ID_MAX / 8 && len >= 8; word++) {
        sum = absorb(sum, word_at(at));
        at += 8;
        len -= 8;
    }
    if (len)
        sum = absorb(sum, word_at(at) & ((1ull << (8 * (len & 7))) - 1));
    sum ^= sum >> 32;
    sum *= 0x9e3779b97f4a7c15;
    sum ^= sum >> 29;
    sum *= 0x243f6a8885a308d3;
    sum ^= sum >> 32;
    return ((sum >> 32) * workers) >> 32;
}

// How many of the eight bytes in front of the first that is none of the two. (What has no branch has one way
// through it only, which spares the verifier most of its work.)
static u32 count(u64 word, u8 one, u8 other) {
    u64 rest = ~(equal(word, one) | equal(word, other)) & TOPS;
    return rest ? place_of(rest & -rest) >> 3 : 8;
}

// The row of the Call-ID ends with the LF at `end`.
static long found(struct scan *scan, u32 end) {
    const u8 *bytes = scan->text->bytes;
    u32 start = scan->value & (LIMIT - 1);
    if (count(word_at(bytes + end + 1), ' ', '\t') || (scan->cut && end + 1 >= scan->len))
        return STOP; // folded, or perhaps so
    if (end < 9)
        return STOP; // no eight bytes to look back at
    end -= bytes[(end - 1) & (LIMIT - 1)] == '\r';
    u32 before = count(word_at(bytes + start), ' ', '\t');
    u32 behind = count(__builtin_bswap64(word_at(bytes + ((end - 8) & (LIMIT - 1)))), ' ', '\t');
    start += before;
    end -= behind;
    if (start >= end || end - start > CALL_ID_MAX)
        return STOP; // empty, or very long
    if (before == 8 || behind == 8 || bytes[start] == '\r' || bytes[(end - 1) & (LIMIT - 1)] == '\r')
        return STOP; // much that is white, or a lone CR
    scan->owner = owner_of(bytes + start, end - start);
    scan->found = 1;
    return STOP;
}

// A line begins at `at`: is it the end of the headers, or the Call-ID?
static long line(struct scan *scan, u32 at) {
    const u8 *bytes = scan->text->bytes + at;
    u8 first = bytes[0];
    if (first == '\n' || (first == '\r' && bytes[1] == '\n'))
        return STOP;
    u32 name;
    if ((first | 0x20) == 'i')
        name = 1;
    else if (((word_at(bytes) & 0x00ffffffffffffff) | 0x0020200020202020) == 0x0064692d6c6c6163)
        name = 7;
    else
        return GO_ON;
    u32 blanks = count(word_at(bytes + name), ' ', '\t');
    if (blanks == 8)
        return STOP; // perhaps more of them
    if (bytes[name + blanks] == ':')
        scan->value = at + name + blanks + 1;
    return GO_ON;
}

static long window(struct scan *scan) {
    u32 at = scan->next;
    if (at >= scan->len || at >= LIMIT)
        return STOP;
    const u8 *bytes = scan->text->bytes + at;
    u64 lines = 0;
#pragma unroll
    for (u32 word = 0; word < WINDOW / 8; word++)
        lines |= line_feeds(word_at(bytes + 8 * word)) << (8 * word);
    scan->lines = lines & scan->begun;
    scan->begun = ~0ull;
    scan->window = at;
    scan->next = at + WINDOW;
    return GO_ON;
}

static long step(u64 number __attribute__((unused)), void *context) {
    struct scan *scan = context;
    u64 lines = scan->lines;
    if (!lines)
        return window(scan);
    u64 lowest = lines & -lines;
    u32 end = scan->window + place_of(lowest);
    scan->lines = lines ^ lowest;
    if (end >= LIMIT)
        return STOP; // never: it is in the text
    return scan->value ? found(scan, end) : line(scan, end + 1);
}

// The first bytes of the datagram become the text. False: there are none.
static u32 take(struct sk_reuseport_md *packet, struct scan *scan) {
    u32 len = packet->len - UDP_HEADER;
    if (packet->len <= UDP_HEADER)
        return 0;
    if (len > LIMIT) {
        len = LIMIT;
        scan->cut = 1;
    }
    u8 *bytes = scan->text->bytes;
    if (skb_load_bytes(packet, UDP_HEADER, bytes, len))
        return 0;
    scan->len = len;
#pragma unroll
    for (u32 word = 0; word < WINDOW / 8 + 2; word++)
        *(u64 *)(bytes + len + 8 * word) = 0;
    return 1;
}

// Line ends in front of the start line belong to no line. False: there are too many.
static u32 pass_line_ends(struct scan *scan) {
    u32 line_ends = count(word_at(scan->text->bytes), '\r', '\n');
    scan->begun = ~0ull << line_ends;
    return line_ends < 8;
}

SEC("sk_reuseport")
int steer(struct sk_reuseport_md *packet) {
    u32 none = 0;
    struct scan scan = {.text = map_lookup_elem(&scratch, &none)};
    if (!scan.text || !take(packet, &scan) || !pass_line_ends(&scan))
        return SK_PASS;
    loop(STEPS, step, &scan, 0);
    if (scan.found)
        sk_select_reuseport(packet, &sockets, &scan.owner, 0); // refused: as if not found
    return SK_PASS;
}

#ifndef HOST
char license_of_all[] SEC("license") = "MIT";
#endif
