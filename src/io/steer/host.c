// The steering program on the processor, for its test: a kernel of four functions around it.
//
// Arguments: the five values that the loader writes, in their order. Input: datagrams, the length of each in
// four bytes in front of it. Output: a line for each, the index of the socket that was chosen, or "-".

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST
#define SEC(name)
#define volatile // the values are written before anything is read
#define const
enum { SK_PASS = 1 };

struct sk_reuseport_md {
    unsigned len;
    unsigned char *data;
};

static int scratch, sockets; // known by their addresses
static long long chosen;

static void *map_lookup_elem(void *map, void *key);
static long skb_load_bytes(void *packet, unsigned offset, void *to, unsigned len);
static long sk_select_reuseport(void *packet, void *map, void *key, unsigned long long flags);
static long loop(unsigned steps, void *step, void *context, unsigned long long flags);

#include "steer.bpf.c"

static struct text text;

static void *map_lookup_elem(void *map, void *key) { return map == &scratch && *(u32 *)key == 0 ? &text : NULL; }

static long skb_load_bytes(void *packet, u32 offset, void *to, u32 len) {
    struct sk_reuseport_md *md = packet;
    if (offset > md->len || len > md->len - offset)
        return -14;
    memcpy(to, md->data + offset, len);
    return 0;
}

static long sk_select_reuseport(void *packet, void *map, void *key, u64 flags) {
    if (!packet || map != &sockets || flags)
        return -22;
    chosen = *(u32 *)key;
    return 0;
}

static long loop(u32 steps, void *step, void *context, u64 flags) {
    long (*once)(u64, void *) = step;
    u64 number = 0;
    while (number < steps && !flags && once(number, context) == GO_ON)
        number++;
    return number;
}

int main(int count, char **values) {
    static unsigned char datagram[UDP_HEADER + 65535];
    u64 *globals[] = {&key_low, &key_high, &factor, &start_sum, &workers};
    if (count != 6)
        return 2;
    for (int place = 0; place < 5; place++)
        *globals[place] = strtoull(values[place + 1], NULL, 10);
    memset(&text, ' ', sizeof text); // what an earlier datagram has left must not count
    u32 len;
    while (fread(&len, 4, 1, stdin) == 1) {
        if (len > 65535 || fread(datagram + UDP_HEADER, 1, len, stdin) != len)
            return 3;
        struct sk_reuseport_md packet = {.len = UDP_HEADER + len, .data = datagram};
        chosen = -1;
        if (steer(&packet) != SK_PASS)
            return 4;
        if (chosen < 0)
            puts("-");
        else
            printf("%lld\n", chosen);
    }
    return 0;
}
