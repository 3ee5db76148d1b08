#include "seal/digest.h"

#include <errno.h>
#include <sodium.h>
#include <unistd.h>

#include "seal/private.h"

enum { READ_BYTES = 65536 };

bool
digest_file(int fd, uint8_t out[static FILE_DIGEST_BYTES], uint64_t *bytes, struct err *e)
{
	crypto_hash_sha256_state h;
	uint8_t block[READ_BYTES];
	ssize_t n;

	*bytes = 0;
	sodium_start();
	crypto_hash_sha256_init(&h);
	while ((n = pread(fd, block, sizeof block, (off_t)*bytes)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(e, EXIT_UNAVAILABLE, "cannot read the file again");
		crypto_hash_sha256_update(&h, block, (size_t)n);
		*bytes += (uint64_t)n;
	}
	crypto_hash_sha256_final(&h, out);
	return true;
}
