#define SIMDJSON_EXCEPTIONS 0

#include "json_reader.h"

#include <cstring>
#include <new>

#include <simdjson.h>

namespace ondemand = simdjson::ondemand;

namespace
{
constexpr size_t capacity_first = 64 * 1024;

// An open object or array.
struct level {
	ondemand::object_iterator members;
	ondemand::array_iterator elements;
	bool object;
	bool begun; // the iterator stands on something that was handed out
};
} // namespace

struct json_reader {
	ondemand::parser parser;
	ondemand::document document;
	ondemand::field field; // handed out last
	bool value_next;
	bool escapes; // a backslash stands somewhere
	const char *data;
	size_t n;
	unsigned depth;
	level levels[JSON_DEPTH_MAX];
};

static_assert(JSON_PADDING >= simdjson::SIMDJSON_PADDING, "padding");

static enum json_step
failed(const json_reader *r, json_token *t, const char *at, const char *what)
{
	t->offset = static_cast<size_t>(at - r->data);
	t->what = t->offset < r->n ? what : "the event ends in the middle";
	return JSON_STEP_FAILED;
}

// The token to read next; after a failure the one that was wrong.
static const char *
location(json_reader *r)
{
	const char *at;

	return r->document.current_location().get(at) ? r->data + r->n : at;
}

static size_t
trimmed(const char *from, size_t n)
{
	while (n && (from[n - 1] == ' ' || from[n - 1] == '\t' || from[n - 1] == '\n' ||
			from[n - 1] == '\r'))
		n--;
	return n;
}

static const char *
digits(const char *s, const char *end)
{
	while (s < end && *s >= '0' && *s <= '9')
		s++;
	return s;
}

// -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)? and nothing else.
static bool
number_good(const char *s, size_t n)
{
	const char *end = s + n, *from;

	if (s < end && *s == '-')
		s++;
	from = s;
	s = digits(s, end);
	if (s == from || (*from == '0' && s > from + 1))
		return false;
	if (s < end && *s == '.') {
		from = ++s;
		s = digits(s, end);
		if (s == from)
			return false;
	}
	if (s < end && (*s == 'e' || *s == 'E')) {
		s++;
		if (s < end && (*s == '+' || *s == '-'))
			s++;
		from = s;
		s = digits(s, end);
		if (s == from)
			return false;
	}
	return s == end;
}

static enum json_step
text(json_reader *r, json_token *t, simdjson::error_code code, std::string_view s,
    enum json_step step)
{
	if (code)
		return failed(r, t, t->raw,
		    "an unknown escape behind a backslash, a \\u without four hexadecimal digits "
		    "or a lone surrogate (half of a character)");
	if (r->escapes && memchr(s.data(), '\0', s.size()))
		return failed(r, t, t->raw,
		    "a text holds NUL (\\u0000), which the warehouse cannot store");
	t->text = s.data();
	t->len = static_cast<uint32_t>(s.size());
	return step;
}

static enum json_step
opened(json_reader *r, json_token *t, ondemand::value &v, bool object)
{
	if (r->depth == JSON_DEPTH_MAX)
		return failed(r, t, t->raw, "nested too deep (at most 64 levels)");
	level *l = &r->levels[r->depth++];
	l->object = object;
	l->begun = false;
	simdjson::error_code code = object ? v.get_object().begin().get(l->members)
					   : v.get_array().begin().get(l->elements);
	return code ? failed(r, t, location(r), "no object or array") : JSON_STEP_VALUE;
}

static enum json_step
value(json_reader *r, json_token *t, ondemand::value &v)
{
	static const char none[] = "neither true, false, null, a number nor a text";
	std::string_view raw = v.raw_json_token(), s;
	ondemand::json_type type;
	simdjson::error_code code;
	bool is;

	t->raw = raw.data();
	if (v.type().get(type))
		return failed(r, t, t->raw, none);
	t->raw_len = static_cast<uint32_t>(trimmed(t->raw, raw.size()));
	switch (type) {
	case ondemand::json_type::object:
		t->kind = JSON_OBJECT;
		return opened(r, t, v, true);
	case ondemand::json_type::array:
		t->kind = JSON_ARRAY;
		return opened(r, t, v, false);
	case ondemand::json_type::string:
		t->kind = JSON_STRING;
		code = v.get_string().get(s);
		return text(r, t, code, s, JSON_STEP_VALUE);
	case ondemand::json_type::number:
		// The iterator steps over it by itself.
		t->kind = JSON_NUMBER;
		if (!number_good(t->raw, t->raw_len))
			return failed(r, t, t->raw, none);
		break;
	case ondemand::json_type::boolean:
		if (v.get_bool().get(is))
			return failed(r, t, t->raw, none);
		t->kind = is ? JSON_TRUE : JSON_FALSE;
		break;
	case ondemand::json_type::null:
		if (v.is_null().get(is) || !is)
			return failed(r, t, t->raw, none);
		t->kind = JSON_NULL;
		break;
	}
	t->text = t->raw;
	t->len = t->raw_len;
	return JSON_STEP_VALUE;
}

static enum json_step
closed(json_reader *r, json_token *t)
{
	const char *next;

	// Behind the whole event simdjson has no location to tell.
	bool end = r->document.current_location().get(next);
	if (--r->depth == 0)
		return end ? JSON_STEP_END
			   : failed(r, t, next, "something follows behind the object");
	if (end)
		return failed(r, t, r->data + r->n, "");
	t->raw = r->data + trimmed(r->data, static_cast<size_t>(next - r->data));
	return JSON_STEP_CLOSE;
}

// The iterator fails for three reasons alike; where it stood before tells them apart.
static enum json_step
key_failed(json_reader *r, json_token *t, const char *before)
{
	const char *at = location(r);

	if (at < before)
		return failed(r, t, at, "a comma or the end of the object was expected");
	if (at == before)
		return failed(r, t, at, "a key in quotes was expected");
	return failed(r, t, at, "a colon was expected behind a key");
}

static enum json_step
member(json_reader *r, json_token *t, level *l)
{
	std::string_view s;

	if (l->begun)
		++l->members;
	l->begun = true;
	if (l->members == ondemand::object_iterator{})
		return closed(r, t);
	t->raw = location(r);
	if ((*l->members).get(r->field))
		return key_failed(r, t, t->raw);
	r->value_next = true;
	simdjson::error_code code = r->field.unescaped_key().get(s);
	return text(r, t, code, s, JSON_STEP_KEY);
}

static enum json_step
element(json_reader *r, json_token *t, level *l)
{
	ondemand::value v;

	if (l->begun)
		++l->elements;
	l->begun = true;
	if (l->elements == ondemand::array_iterator{})
		return closed(r, t);
	if ((*l->elements).get(v))
		return failed(r, t, location(r), "a comma or the end of the array was expected");
	return value(r, t, v);
}

extern "C" struct json_reader *
json_reader_new(void)
{
	return new (std::nothrow) json_reader();
}

extern "C" void
json_reader_free(struct json_reader *r)
{
	delete r;
}

static const char *
begin_words(simdjson::error_code code)
{
	switch (code) {
	case simdjson::EMPTY:
		return "the event is empty";
	case simdjson::UTF8_ERROR:
		return "the event is not valid UTF-8";
	case simdjson::UNESCAPED_CHARS:
		return "no valid JSON: a control character stands unescaped in a text";
	case simdjson::UNCLOSED_STRING:
		return "no valid JSON: a text is not closed; the event ends in the middle";
	case simdjson::INCORRECT_TYPE:
		return "the event is no JSON object";
	case simdjson::INCOMPLETE_ARRAY_OR_OBJECT:
		return "no valid JSON: the event ends in the middle, or something follows "
		       "behind the object";
	default:
		return "no valid JSON";
	}
}

static simdjson::error_code
reserve(json_reader *r, size_t n)
{
	size_t capacity = capacity_first;

	if (r->parser.capacity() >= n && r->parser.capacity())
		return simdjson::SUCCESS;
	while (capacity < n)
		capacity *= 2;
	// On-demand counts the event itself and a value inside the deepest object as levels too.
	return r->parser.allocate(capacity, JSON_DEPTH_MAX + 2);
}

extern "C" enum json_begin
json_reader_begin(struct json_reader *r, const char *data, size_t n, const char **what)
{
	ondemand::object top;
	level *l = &r->levels[0];

	if (reserve(r, n))
		return JSON_BEGIN_NO_MEMORY;
	simdjson::error_code code = r->parser.iterate(data, n, n + JSON_PADDING).get(r->document);
	if (!code)
		code = r->document.get_object().get(top);
	if (!code)
		code = top.begin().get(l->members);
	if (code) {
		*what = begin_words(code);
		return JSON_BEGIN_BAD;
	}
	l->object = true;
	l->begun = false;
	r->depth = 1;
	r->value_next = false;
	r->data = data;
	r->n = n;
	r->escapes = memchr(data, '\\', n) != nullptr;
	return JSON_BEGIN_GOOD;
}

extern "C" enum json_step
json_reader_next(struct json_reader *r, struct json_token *t)
{
	level *l = &r->levels[r->depth - 1];

	if (r->value_next) {
		r->value_next = false;
		return value(r, t, r->field.value());
	}
	return l->object ? member(r, t, l) : element(r, t, l);
}
