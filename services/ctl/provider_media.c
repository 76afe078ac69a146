/* SPDX-License-Identifier: Apache-2.0 */
/* The stand-in's files. What it reads is hashed as it comes, so that a test or a person can see that it is the same. */
#include "provider_media.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "core/id.h"
#include "provider.h"

enum { FILES_MAX = 32, SHA256_BYTES = 32, READ_TIMEOUT_MS = 60000 };

/* ---- of customers ---- */

struct provider_file {
    char id[40], *content_type, *bytes;
    size_t len;
};

struct provider_files {
    struct provider_file files[FILES_MAX]; /* a ring */
    size_t added;
};

struct provider_files *provider_files_new(void)
{
    struct provider_files *files = calloc(1, sizeof *files);

    if (files == NULL)
        abort();
    return files;
}

static void file_done(struct provider_file *file)
{
    free(file->content_type);
    free(file->bytes);
    *file = (struct provider_file){ 0 };
}

void provider_files_free(struct provider_files **files)
{
    for (size_t i = 0; *files != NULL && i < FILES_MAX; i++)
        file_done(&(*files)->files[i]);
    free(*files);
    *files = NULL;
}

const char *provider_files_add(struct provider_files *files, const char *content_type, struct str_view bytes)
{
    struct provider_file *file = &files->files[files->added++ % FILES_MAX];

    file_done(file);
    provider_new_sid(file->id);
    file->id[1] = 'E'; /* ME…, as Twilio's media are called */
    file->id[0] = 'M';
    file->content_type = str_dup(str_view_of(content_type));
    file->bytes = str_dup(bytes);
    file->len = bytes.len;
    return file->id;
}

static const struct provider_file *find_file(const struct provider_files *files, const char *id)
{
    for (size_t i = 0; i < FILES_MAX; i++)
        if (files->files[i].bytes != NULL && strcmp(files->files[i].id, id) == 0)
            return &files->files[i];
    return NULL;
}

const char *provider_files_type(const struct provider_files *files, const char *id)
{
    const struct provider_file *file = find_file(files, id);

    return file != NULL ? file->content_type : NULL;
}

static void redirect(const struct provider_files *files, struct http_exchange *exchange, const char *id,
                     bool is_authorised)
{
    const char *where = arena_printf(http_exchange_arena(exchange), "/store/%s", id);

    if (!is_authorised || find_file(files, id) == NULL) {
        (void)http_exchange_reply(exchange, is_authorised ? 404 : 401, "text/plain", STR_LITERAL("no\n"));
        return;
    }
    http_exchange_set_header(exchange, "Location", where);
    (void)http_exchange_reply(exchange, 307, "text/plain", STR_LITERAL("there\n"));
}

bool provider_files_serve(struct provider_files *files, struct http_exchange *exchange, bool is_authorised)
{
    const char *path = http_exchange_path(exchange), *media = strstr(path, "/Media/");
    const struct provider_file *file;

    if (strcmp(http_exchange_method(exchange), "GET") != 0)
        return false;
    if (strncmp(path, "/2010-04-01/", 12) == 0 && media != NULL) {
        redirect(files, exchange, media + strlen("/Media/"), is_authorised);
        return true;
    }
    if (strncmp(path, "/store/", 7) != 0)
        return false;
    file = find_file(files, path + 7);
    if (file == NULL)
        (void)http_exchange_reply(exchange, 404, "text/plain", STR_LITERAL("no\n"));
    else
        (void)http_exchange_reply(exchange, 200, file->content_type,
                                  (struct str_view){ file->bytes, file->len });
    return true;
}

/* ---- of the business ---- */

struct provider_read {
    struct http_client *client;
    char *urls[PROVIDER_MESSAGE_FILES_MAX];
    struct provider_seen seen[PROVIDER_MESSAGE_FILES_MAX];
    size_t count, at;
    EVP_MD_CTX *hash;
    provider_read_done_fn *done;
    void *arg;
};

static void read_next(struct provider_read *read);

static void read_end(struct provider_read *read, size_t seen)
{
    read->done(read->arg, read->seen, seen);
    for (size_t i = 0; i < read->count; i++)
        free(read->urls[i]);
    EVP_MD_CTX_free(read->hash);
    free(read);
}

static enum http_piece_answer on_piece(void *arg, const struct http_call *call, struct str_view piece)
{
    struct provider_read *read = arg;

    (void)call;
    if (EVP_DigestUpdate(read->hash, piece.data, piece.len) != 1)
        abort();
    return HTTP_PIECE_TAKEN;
}

static void on_read(void *arg, const struct http_result *result)
{
    struct provider_read *read = arg;
    struct provider_seen *seen = &read->seen[read->at++];
    unsigned char digest[EVP_MAX_MD_SIZE];
    SCOPED_BUF hex = { 0 };

    if (EVP_DigestFinal_ex(read->hash, digest, NULL) != 1)
        abort();
    buf_init(&hex, sizeof seen->sha256);
    hex_append(&hex, digest, SHA256_BYTES);
    snprintf(seen->sha256, sizeof seen->sha256, "%s", buf_text(&hex));
    snprintf(seen->content_type, sizeof seen->content_type, "%s", result->content_type);
    seen->status = result->err.kind == ERR_NONE ? result->status : 0;
    seen->size_bytes = result->body_bytes;
    if (seen->status == 200 && read->at < read->count)
        read_next(read);
    else
        read_end(read, read->at);
}

static void read_next(struct provider_read *read)
{
    const struct http_client_request request = {
        .method = "GET",
        .url = read->urls[read->at],
        .timeout_ms = READ_TIMEOUT_MS,
        .answer_max_bytes = PROVIDER_FILE_MAX_BYTES,
        .piece = on_piece,
        .body_arg = read,
    };

    if (EVP_DigestInit_ex(read->hash, EVP_sha256(), NULL) != 1)
        abort();
    http_call_start(read->client, &request, on_read, read);
}

void provider_read_start(struct http_client *client, const char *const *urls, size_t count,
                         provider_read_done_fn *done, void *arg)
{
    struct provider_read *read = calloc(1, sizeof *read);

    if (read == NULL || (read->hash = EVP_MD_CTX_new()) == NULL)
        abort();
    read->client = client;
    read->count = count < PROVIDER_MESSAGE_FILES_MAX ? count : PROVIDER_MESSAGE_FILES_MAX;
    read->done = done;
    read->arg = arg;
    for (size_t i = 0; i < read->count; i++)
        read->urls[i] = str_dup(str_view_of(urls[i]));
    read_next(read);
}
