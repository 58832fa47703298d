/* Ports that are a stream of bytes: QEMU's -netdev stream. Each frame stands behind its length, four
 * bytes in network order.
 */
#ifndef WGVX_STREAM_H
#define WGVX_STREAM_H

#include "dataplane.h"

/* What a stream has received and not yet given on, and what waits to be sent. */
struct stream;

struct stream *stream_new(void); /* NULL without memory */
void stream_free(struct stream *);
/* Another connection: what was left of the last one is forgotten. */
void stream_reset(struct stream *);

/* Receive and process what is there, within a budget. False where the connection is gone. */
bool pump_stream(struct lane *, struct port *);
/* A frame that goes with the next stream_flush; false where there is no room for it. */
bool stream_put(struct lane *, struct port *, const uint8_t *frame, uint32_t length);
void stream_flush(struct lane *, struct port *);

#endif
