/* SPDX-License-Identifier: Apache-2.0 */
/* media.c - what agents see of files: links instead of addresses.
 *
 * A link is a ticket, not a right: it names one blob of one tenant, says until when, and is signed. The id
 * of an upload is such a ticket as well, so that an agent can only send what the gateway gave an id for. */
#include "media_private.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/duration.h"

static bool is_type_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$&-^_.+", c) != NULL);
}

/* RFC 6838 §4.2 restricted names. */
const char *media_type_clean(struct arena *arena, const char *content_type)
{
    struct str_view rest = str_view_of(content_type != NULL ? content_type : ""), type;
    unsigned slashes = 0;

    if (!str_next(&rest, ';', &type))
        return "application/octet-stream";
    type = str_trim(type);
    for (size_t i = 0; i < type.len; i++) {
        if (type.data[i] == '/' && i > 0 && i + 1 < type.len)
            slashes++;
        else if (!is_type_char(type.data[i]))
            return "application/octet-stream";
    }
    return slashes == 1 && type.len <= 127 ? arena_dup(arena, type) : "application/octet-stream";
}

void media_ticket_init(Guichet__V1__MediaTicket *ret_ticket, const char *tenant, ProtobufCBinaryData sha256,
                       const char *content_type, const char *file_name, uint32_t ttl_ms)
{
    guichet__v1__media_ticket__init(ret_ticket);
    ret_ticket->tenant = (char *)tenant;
    ret_ticket->sha256 = sha256;
    ret_ticket->content_type = (char *)content_type;
    ret_ticket->file_name = (char *)(file_name[0] != '\0' ? file_name : "file");
    ret_ticket->expires_at_s = (uint64_t)(time_now_us() / 1000000) + ttl_ms / 1000;
}

static void media_link(struct call *call, Guichet__V1__Media *media)
{
    const struct media *ours = call->gateway->media;
    Guichet__V1__MediaTicket ticket;
    SCOPED_BUF link = { 0 };

    media->provider_url = media->provider_media_id = media->link_url = (char *)protobuf_c_empty_string;
    if (media->sha256.len != BLOB_SHA256_BYTES ||
        media->state == GUICHET__V1__MEDIA_STATE__MEDIA_STATE_FAILED)
        return;
    media_ticket_init(&ticket, call_tenant(call), media->sha256, media->content_type, media->file_name,
                      call->gateway->config->media_link_ttl_ms);
    buf_init(&link, MEDIA_LINK_MAX_BYTES);
    media_link_append(&link, ours->base_url, &ours->keys, &ticket);
    media->link_url = arena_dup(call->arena, buf_view(&link));
}

static void part_show(struct call *call, const Guichet__V1__Part *part)
{
    if (part->kind_case == GUICHET__V1__PART__KIND_MEDIA)
        media_link(call, part->media);
    else if (part->kind_case == GUICHET__V1__PART__KIND_CALL && part->call->recording != NULL)
        media_link(call, part->call->recording);
    if (part->kind_case != GUICHET__V1__PART__KIND_TEMPLATE)
        return;
    for (size_t i = 0; i < part->template_->n_variables; i++)
        if (part->template_->variables[i]->media != NULL)
            media_link(call, part->template_->variables[i]->media);
}

void media_show(struct call *call, Guichet__V1__Message *message)
{
    for (size_t i = 0; message->content != NULL && i < message->content->n_parts; i++)
        part_show(call, message->content->parts[i]);
}

Guichet__V1__Media *media_of_id(struct call *call, const char *id)
{
    Guichet__V1__Media *media = arena_alloc(call->arena, sizeof(*media));
    Guichet__V1__MediaTicket *ticket;
    struct err err = { 0 };

    if (!media_ticket_verify(&call->gateway->media->keys, str_view_of(id), time_now_us(), call->arena,
                             &ticket, &err) ||
        strcmp(ticket->tenant, call_tenant(call)) != 0)
        return NULL;
    guichet__v1__media__init(media);
    media->state = GUICHET__V1__MEDIA_STATE__MEDIA_STATE_STORED;
    media->sha256 = ticket->sha256;
    media->content_type = ticket->content_type;
    media->file_name = ticket->file_name;
    return media;
}

/* ---- life ---- */

/* "https://files.example:8443/media" -> "files.example:8443"; NULL: it is no such URL. */
static char *host_of(const char *url)
{
    const char *host = strncmp(url, "https://", 8) == 0  ? url + 8
                       : strncmp(url, "http://", 7) == 0 ? url + 7
                                                         : NULL;
    size_t len = host != NULL ? strcspn(host, "/?#") : 0;
    const char *path = host != NULL ? host + len : "";

    if (len == 0 || strncmp(path, "/media", 6) != 0 || (path[6] != '\0' && strcmp(path + 6, "/") != 0))
        return NULL;
    return str_dup((struct str_view){ host, len });
}

bool media_serves(const struct media *media, const char *host)
{
    bool is_ours = host != NULL && strcasecmp(host, media->host) == 0;

    for (size_t i = 0; host != NULL && !is_ours && i < media->hosts->count; i++)
        is_ours = strcasecmp(host, media->hosts->items[i]) == 0;
    return is_ours;
}

/* A URL among them would match no request, silently. */
static bool hosts_check(const struct config_strings *hosts, struct err *err)
{
    for (size_t i = 0; i < hosts->count; i++)
        if (hosts->items[i][0] == '\0' || strpbrk(hosts->items[i], "/?# ") != NULL)
            return err_set(err, ERR_CONFIG, "key 'media_hosts': '%s' is no host or host:port",
                           hosts->items[i]);
    return true;
}

bool media_new(struct gateway *gateway, struct err *err)
{
    const struct gateway_config *config = gateway->config;
    struct media *media = calloc(1, sizeof(*media));

    if (media == NULL)
        abort();
    media->keys = (struct media_ticket_keys){ config->media_key, config->media_key_previous };
    media->base_url = config->media_base_url;
    media->host = host_of(config->media_base_url);
    media->hosts = &config->media_hosts;
    TAILQ_INIT(&media->uploads);
    TAILQ_INIT(&media->downloads);
    gateway->media = media;
    if (media->host == NULL)
        return err_set(err, ERR_CONFIG, "key 'media_base_url': '%s' is not http(s)://<host>/media",
                       config->media_base_url);
    return hosts_check(&config->media_hosts, err);
}

void media_free(struct media **media_ptr)
{
    struct media *media = *media_ptr;

    *media_ptr = NULL;
    if (media == NULL)
        return;
    media_uploads_end(media);
    media_downloads_end(media);
    free(media->host);
    free(media);
}
