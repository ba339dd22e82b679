#include "file_digest.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "memory.h"

#define READ_BYTES (1u << 16)

struct file_digest {
    EVP_MD_CTX *context; /* owned */
    uint64_t bytes;      /* of the whole file, for git's head */
    const char *wanted;  /* borrowed from the order; "": none */
    bool is_git;
};

file_digest *file_digest_create(const struct pull_file *file)
{
    file_digest *digest = memory_allocate_array(1, sizeof(*digest));

    if (digest == NULL)
        return NULL;
    digest->is_git = file->sha256[0] == '\0' && file->git_oid[0] != '\0';
    digest->wanted = digest->is_git ? file->git_oid : file->sha256;
    digest->bytes = file->bytes;
    digest->context = EVP_MD_CTX_new();
    if (digest->context != NULL)
        return digest;
    memory_release(digest);
    return NULL;
}

void file_digest_destroy(file_digest *digest)
{
    if (digest == NULL)
        return;
    EVP_MD_CTX_free(digest->context);
    memory_release(digest);
}

bool file_digest_restart(file_digest *digest)
{
    char head[64];
    int bytes;

    if (EVP_DigestInit_ex(digest->context, digest->is_git ? EVP_sha1() : EVP_sha256(), NULL) != 1)
        return false;
    if (!digest->is_git)
        return true;
    bytes = snprintf(head, sizeof(head), "blob %llu", (unsigned long long)digest->bytes);
    return file_digest_add(digest, head, (size_t)bytes + 1);
}

bool file_digest_add(file_digest *digest, const void *data, size_t bytes)
{
    return EVP_DigestUpdate(digest->context, data, bytes) == 1;
}

bool file_digest_read(file_digest *digest, int descriptor, uint64_t bytes)
{
    char piece[READ_BYTES];
    uint64_t done = 0;

    if (!file_digest_restart(digest))
        return false;
    while (done < bytes) {
        size_t wanted = bytes - done < sizeof(piece) ? (size_t)(bytes - done) : sizeof(piece);
        ssize_t got = pread(descriptor, piece, wanted, (off_t)done);

        if (got <= 0 || !file_digest_add(digest, piece, (size_t)got))
            return false;
        done += (uint64_t)got;
    }
    return true;
}

bool file_digest_is_right(file_digest *digest, char hex[SHA256_HEX_BYTES + 1])
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned bytes = 0;

    hex[0] = '\0';
    if (EVP_DigestFinal_ex(digest->context, hash, &bytes) != 1)
        return false;
    for (unsigned i = 0; i < bytes && i < SHA256_HEX_BYTES / 2; i++)
        (void)snprintf(hex + (size_t)2 * i, 3, "%02x", hash[i]);
    return digest->wanted[0] == '\0' || strcasecmp(digest->wanted, hex) == 0;
}
