/* KEYREQ and KEYANS: what ingest asks of the keeper, and its answers. See wire.h. */
#include "wire_private.h"

enum {
	PUBLISH_ELEMENTS = 5,
	SUBJECTS_ELEMENTS = 3,
	FACTS_ELEMENTS = 3,
	ANSWER_ELEMENTS = 5,
	FACTS_ANSWERED = 3,
};

static size_t
request_elements(enum key_kind kind)
{
	return kind == KEY_PUBLISH ? PUBLISH_ELEMENTS
	       : kind == KEY_FACTS ? FACTS_ELEMENTS
				   : SUBJECTS_ELEMENTS;
}

/* [0, request, class, core, [wrap...]] or [1, request, sids] or [2, request, nil] */
void
wire_keyreq_write(struct buf *b, const struct keyreq *k)
{
	pack_array(b, request_elements(k->kind));
	pack_uint(b, k->kind);
	pack_uint(b, k->request);
	if (k->kind == KEY_FACTS) {
		pack_nil(b);
		return;
	}
	if (k->kind == KEY_SUBJECTS) {
		pack_bytes(b, k->sids, (size_t)k->sids_n * SUBJECT_ID_BYTES);
		return;
	}
	pack_text(b, k->class, k->class_len);
	pack_bytes(b, k->core, k->core_len);
	pack_array(b, k->wraps_n);
	for (uint32_t i = 0; i < k->wraps_n; i++)
		pack_bytes(b, k->wraps[i], WRAP_BYTES);
}

/* The item's array, its kind and its request number; n: how many elements it has. */
static bool
key_head_read(struct pack_reader *r, struct pack_view *a, size_t *n, enum key_kind *kind,
	      uint32_t *request)
{
	uint64_t k;

	if (!pack_next(r, a) || !pack_view_array(r, *a, n))
		return false;
	if (*n < SUBJECTS_ELEMENTS)
		return pack_fail(r, "a keeper's item with a wrong number of elements");
	if (!pack_at_uint(r, *a, 0, KEY_FACTS, &k) || !at_u32(r, *a, 1, request))
		return false;
	*kind = (enum key_kind)k;
	return true;
}

static bool
publish_view(struct pack_reader *r, struct pack_view a, struct keyreq *k)
{
	struct pack_view wraps;
	size_t n;
	uint32_t len;

	if (!at_text(r, a, 2, NAME_BYTES_MAX, &k->class, &k->class_len) ||
	    !at_bytes(r, a, 3, 1, CORE_BYTES_MAX, &k->core, &k->core_len))
		return false;
	wraps = pack_view_at(a, 4);
	if (!pack_view_array(r, wraps, &n))
		return false;
	if (n < 1 || n > KEYREQ_WRAPS_MAX)
		return pack_fail(r, "a wrong number of wraps");
	for (size_t i = 0; i < n; i++)
		if (!at_bytes(r, wraps, i, WRAP_BYTES, WRAP_BYTES, &k->wraps[i], &len))
			return false;
	k->wraps_n = (uint32_t)n;
	return true;
}

static bool
subjects_view(struct pack_reader *r, struct pack_view a, struct keyreq *k)
{
	uint32_t len;

	if (!at_bytes(r, a, 2, SUBJECT_ID_BYTES, KEYREQ_SUBJECTS_MAX * SUBJECT_ID_BYTES, &k->sids,
		      &len))
		return false;
	k->sids_n = len / SUBJECT_ID_BYTES;
	return len % SUBJECT_ID_BYTES == 0 || pack_fail(r, "sids have 16 bytes each");
}

bool
wire_keyreq_read(struct pack_reader *r, struct keyreq *k)
{
	struct pack_view a;
	size_t n;

	*k = (struct keyreq){0};
	if (!key_head_read(r, &a, &n, &k->kind, &k->request))
		return false;
	if (n != request_elements(k->kind))
		return pack_fail(r, "a request with a wrong number of elements");
	if (k->kind == KEY_FACTS)
		return pack_view_nil(pack_view_at(a, 2)) || pack_fail(r, "facts of something");
	return k->kind == KEY_PUBLISH ? publish_view(r, a, k) : subjects_view(r, a, k);
}

/* [hash key, policy root or nil, lowest serial] */
static void
facts_write(struct buf *b, const struct keyans *k)
{
	pack_array(b, FACTS_ANSWERED);
	pack_bytes(b, k->hash_key, HASH_KEY_BYTES);
	if (k->has_policy)
		pack_bytes(b, k->policy_root, POLICY_ROOT_BYTES);
	else
		pack_nil(b);
	pack_uint(b, k->has_policy ? k->pinned_serial : 0);
}

static bool
facts_view(struct pack_reader *r, struct pack_view a, struct keyans *k)
{
	size_t n;

	if (!pack_view_array(r, a, &n))
		return false;
	if (n != FACTS_ANSWERED)
		return pack_fail(r, "facts have 3 elements");
	k->has_policy = !pack_view_nil(pack_view_at(a, 1));
	if (!pack_view_fixed(r, pack_view_at(a, 0), k->hash_key, HASH_KEY_BYTES) ||
	    (k->has_policy &&
	     !pack_view_fixed(r, pack_view_at(a, 1), k->policy_root, POLICY_ROOT_BYTES)) ||
	    !pack_at_uint(r, a, 2, UINT64_MAX, &k->pinned_serial))
		return false;
	return k->has_policy || !k->pinned_serial || pack_fail(r, "a serial without a policy");
}

/* [kind, request, ok, policy serial, core | [secret or nil...] | facts | reason] */
void
wire_keyans_write(struct buf *b, const struct keyans *k)
{
	pack_array(b, ANSWER_ELEMENTS);
	pack_uint(b, k->kind);
	pack_uint(b, k->request);
	pack_bool(b, k->ok);
	pack_uint(b, k->policy_serial);
	if (!k->ok) {
		pack_text(b, k->reason, k->reason_len);
		return;
	}
	if (k->kind == KEY_PUBLISH) {
		pack_bytes(b, k->core, k->core_len);
		return;
	}
	if (k->kind == KEY_FACTS) {
		facts_write(b, k);
		return;
	}
	pack_array(b, k->secrets_n);
	for (uint32_t i = 0; i < k->secrets_n; i++)
		if (k->secrets[i])
			pack_bytes(b, k->secrets[i], SUBJECT_SECRET_BYTES);
		else
			pack_nil(b);
}

static bool
secrets_view(struct pack_reader *r, struct pack_view a, struct keyans *k)
{
	size_t n;
	uint32_t len;

	if (!pack_view_array(r, a, &n))
		return false;
	if (n < 1 || n > KEYREQ_SUBJECTS_MAX)
		return pack_fail(r, "a wrong number of secrets");
	for (size_t i = 0; i < n; i++)
		if (!pack_view_nil(pack_view_at(a, i)) &&
		    !at_bytes(r, a, i, SUBJECT_SECRET_BYTES, SUBJECT_SECRET_BYTES, &k->secrets[i],
			      &len))
			return false;
	k->secrets_n = (uint32_t)n;
	return true;
}

bool
wire_keyans_read(struct pack_reader *r, struct keyans *k)
{
	struct pack_view a;
	size_t n;

	*k = (struct keyans){0};
	if (!key_head_read(r, &a, &n, &k->kind, &k->request))
		return false;
	if (n != ANSWER_ELEMENTS)
		return pack_fail(r, "an answer has 5 elements");
	if (!at_bool(r, a, 2, &k->ok) || !pack_at_uint(r, a, 3, UINT64_MAX, &k->policy_serial))
		return false;
	if (!k->ok)
		return at_text(r, a, 4, REASON_MAX, &k->reason, &k->reason_len);
	if (k->kind == KEY_PUBLISH)
		return at_bytes(r, a, 4, 1, CORE_BYTES_MAX, &k->core, &k->core_len);
	if (k->kind == KEY_FACTS)
		return facts_view(r, pack_view_at(a, 4), k);
	return secrets_view(r, pack_view_at(a, 4), k);
}
