// The shim around simdjson: its first stage alone, which finds the structure and checks UTF-8 with
// vector instructions, chosen at run time. The second stage is ours (json.c): simdjson's own either
// turns numbers into doubles or does not check what it skips.
#include "json.h"

#include <memory>
#include <new>

#include <simdjson.h>

namespace
{
constexpr size_t capacity_first = 64 * 1024;
}

struct json_scanner {
	std::unique_ptr<simdjson::internal::dom_parser_implementation> impl;
};

static bool
scanner_grow(json_scanner *s, size_t n)
{
	size_t capacity = s->impl ? s->impl->capacity() : 0;

	if (capacity > n)
		return true;
	size_t want = capacity_first;
	while (want <= n)
		want *= 2;
	if (!s->impl)
		return !simdjson::get_active_implementation()->create_dom_parser_implementation(
		    want, JSON_DEPTH_MAX, s->impl);
	return !s->impl->allocate(want, JSON_DEPTH_MAX);
}

extern "C" json_scanner *
json_scanner_new(void)
{
	return new (std::nothrow) json_scanner;
}

extern "C" void
json_scanner_free(json_scanner *s)
{
	delete s;
}

extern "C" enum json_scan
json_scan(json_scanner *s, const char *data, size_t n, const uint32_t **at, uint32_t *count)
{
	if (n == 0)
		return JSON_SCAN_EMPTY;
	if (n > UINT32_MAX / 2 || !scanner_grow(s, n))
		return JSON_SCAN_FAILED;
	simdjson::error_code code = s->impl->stage1(reinterpret_cast<const uint8_t *>(data), n,
	    simdjson::stage1_mode::regular);
	*at = s->impl->structural_indexes.get();
	*count = s->impl->n_structural_indexes;
	switch (code) {
	case simdjson::SUCCESS:
		s->impl->structural_indexes[*count] = static_cast<uint32_t>(n);
		return JSON_SCAN_GOOD;
	case simdjson::EMPTY:
		return JSON_SCAN_EMPTY;
	case simdjson::UTF8_ERROR:
		return JSON_SCAN_UTF8;
	case simdjson::UNESCAPED_CHARS:
		return JSON_SCAN_CONTROL;
	case simdjson::UNCLOSED_STRING:
		return JSON_SCAN_UNCLOSED;
	default:
		return JSON_SCAN_FAILED;
	}
}
