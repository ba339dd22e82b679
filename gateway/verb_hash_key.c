#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "verbs.h"

#define KEY_BYTES_MIN 16u  /* shorter keys can be found from their hash by trying */
#define KEY_BYTES_MAX 512u /* what the gateway accepts in a header */

/* The key is read, not taken from the command line, where ps and the shell's history would show it.
 */
int verb_hash_key(int argument_count, char **arguments)
{
    char key[KEY_BYTES_MAX + 3];
    unsigned char hash[SHA256_DIGEST_LENGTH];
    size_t bytes;

    if (!arguments_read("hash-key", argument_count, arguments, NULL, 0, NULL))
        return EXIT_USAGE;
    if (isatty(STDIN_FILENO))
        (void)fprintf(stderr, "Key (like the output of `openssl rand -hex 32`): ");
    if (fgets(key, sizeof(key), stdin) == NULL)
        key[0] = '\0';
    bytes = strcspn(key, "\r\n");
    if (bytes < KEY_BYTES_MIN || bytes > KEY_BYTES_MAX) {
        (void)fprintf(stderr,
                      "penstock hash-key: a key has %u to %u characters; make one with `openssl "
                      "rand -hex 32`\n",
                      KEY_BYTES_MIN, KEY_BYTES_MAX);
        OPENSSL_cleanse(key, sizeof(key));
        return 1;
    }
    (void)SHA256((const unsigned char *)key, bytes, hash);
    OPENSSL_cleanse(key, sizeof(key));
    for (size_t i = 0; i < sizeof(hash); i++)
        (void)printf("%02x", hash[i]);
    (void)printf("\n");
    return 0;
}
