/*
 * keyhash: every keyed hash of identities. libsodium (sodium.h) is included in keyhash.c alone.
 * The hash key is the pipeline's, 16 random bytes stored at creation; it reaches workers in OWN.
 */
#ifndef PROTO_KEYHASH_H
#define PROTO_KEYHASH_H

#include <stdint.h>
#include <stddef.h>

#include "wire.h"

void keyhash_init(void); /* once per process, before the others */

/* SipHash-2-4, 64 bits (libsodium crypto_shorthash), little-endian read of its 8 bytes. */
uint64_t keyhash64(const uint8_t key[static HASH_KEY_BYTES], const void *p, size_t n);

/* Key group of a correlation ID or reference key: keyhash64 mod groups. */
static inline uint32_t
keyhash_group(uint64_t hash, unsigned groups)
{
	return (uint32_t)(hash % groups);
}

/* Lane of a key group: contiguous, as even as can be. Range of lane l: groups with lane == l. */
static inline unsigned
keygroup_lane(uint32_t kg, unsigned groups, unsigned lanes)
{
	return (unsigned)((uint64_t)kg * lanes / groups);
}

/* SipHash-2-4 with 128 bits of output: the key of a process' state. */
void keyhash_process(const uint8_t key[static HASH_KEY_BYTES], const char *id, size_t n,
		     uint8_t out[static 16]);

/* Surrogate key of a natural key: keyhash64 with the sign bit cleared, so that it is positive. */
int64_t keyhash_surrogate(const uint8_t key[static HASH_KEY_BYTES], const char *natural, size_t n);

/*
 * rid (SEALING "Record id"): BLAKE2b-128, personalisation "weir1.rid" zero-padded to 16, unkeyed:
 *   kafka: L(source label) || u32 partition || u64 offset     files: L(label) || L(path) || u64
 *     record
 * keyed with the rid key: queues: L(label) || L(identity). Integers big-endian, L(x) = u16 length,
 * x.
 */
void rid_kafka(const char *label, uint32_t partition, int64_t offset,
	       uint8_t out[static RID_BYTES]);
void rid_file(const char *label, const char *path, size_t path_len, int64_t record,
	      uint8_t out[static RID_BYTES]);
void rid_queue(const uint8_t rid_key[static 32], const char *label, const void *identity, size_t n,
	       uint8_t out[static RID_BYTES]);

/* rid of a record of a durable partition, from its partition's description (kafka or file). */
void rid_durable(const struct source *s, const struct partition *p, int64_t offset,
		 uint8_t out[static RID_BYTES]);

/*
 * Keyed digest of an undecodable event's raw bytes (BLAKE2b-128, "weir1.dead", keyed by the hash
 * key).
 */
void digest_dead(const uint8_t key[static HASH_KEY_BYTES], const void *p, size_t n,
		 uint8_t out[static DIGEST_BYTES]);

void random_bytes(void *p, size_t n);

#endif
