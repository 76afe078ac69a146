/* SPDX-License-Identifier: Apache-2.0 */
/* preview.c - what a list shows of a message.
 *
 * Words in square brackets are for people to read and no protocol: the frontend has the parts
 * themselves to show better. */
#include "preview.h"

#include <string.h>

static struct str_view cut(struct str_view text, size_t max_bytes)
{
    text.len = utf8_cut(text, max_bytes);
    return text;
}

static const char *media_word(const Guichet__V1__Media *media)
{
    static const struct {
        const char *prefix, *word;
    } words[] = { { "image/", "[image]" }, { "video/", "[video]" }, { "audio/", "[audio]" } };

    if (media->disposition == GUICHET__V1__MEDIA_DISPOSITION__MEDIA_DISPOSITION_STICKER)
        return "[sticker]";
    if (media->disposition == GUICHET__V1__MEDIA_DISPOSITION__MEDIA_DISPOSITION_VOICE_NOTE)
        return "[voice note]";
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (strncmp(media->content_type, words[i].prefix, strlen(words[i].prefix)) == 0)
            return words[i].word;
    return "[file]";
}

static const char *or_word(const char *text, const char *word)
{
    return text[0] != '\0' ? text : word;
}

static const char *part_word(const Guichet__V1__Part *part)
{
    switch (part->kind_case) {
    case GUICHET__V1__PART__KIND_TEXT:
        return part->text->format == GUICHET__V1__TEXT_FORMAT__TEXT_FORMAT_HTML ? "[html]" : "[empty]";
    case GUICHET__V1__PART__KIND_MEDIA:
        return or_word(part->media->caption, media_word(part->media));
    case GUICHET__V1__PART__KIND_LOCATION:
        return "[location]";
    case GUICHET__V1__PART__KIND_CONTACT_CARD:
        return "[contact]";
    case GUICHET__V1__PART__KIND_CHOICE:
        return or_word(part->choice->title, "[choice]");
    case GUICHET__V1__PART__KIND_ORDER:
        return "[order]";
    case GUICHET__V1__PART__KIND_TEMPLATE:
        return "[template]";
    case GUICHET__V1__PART__KIND_MENU:
        return or_word(part->menu->body, "[menu]");
    case GUICHET__V1__PART__KIND_CALL:
        return "[call]";
    case GUICHET__V1__PART__KIND_RATING:
        return "[rating]";
    case GUICHET__V1__PART__KIND_LETTER:
        return "[letter]";
    case GUICHET__V1__PART__KIND_PRESS:
        return "[press]";
    default:
        return "[unsupported]";
    }
}

struct str_view preview_content(const Guichet__V1__Content *content, size_t max_bytes)
{
    if (content == NULL)
        return cut(STR_LITERAL("[empty]"), max_bytes);
    for (size_t i = 0; i < content->n_parts; i++) {
        const Guichet__V1__Part *part = content->parts[i];

        if (part->kind_case == GUICHET__V1__PART__KIND_TEXT && part->text->text[0] != '\0' &&
            part->text->format != GUICHET__V1__TEXT_FORMAT__TEXT_FORMAT_HTML)
            return cut(str_view_of(part->text->text), max_bytes);
    }
    if (content->subject[0] != '\0')
        return cut(str_view_of(content->subject), max_bytes);
    return cut(str_view_of(content->n_parts == 0 ? "[empty]" : part_word(content->parts[0])), max_bytes);
}

struct str_view preview_stored(Guichet__V1__MessageKind kind, bool is_removed, const char *reaction,
                               const Guichet__V1__Content *content, size_t max_bytes)
{
    switch (kind) {
    case GUICHET__V1__MESSAGE_KIND__MESSAGE_KIND_DELETE:
        return cut(STR_LITERAL("[deleted]"), max_bytes);
    case GUICHET__V1__MESSAGE_KIND__MESSAGE_KIND_REACTION:
        return cut(is_removed ? STR_LITERAL("[reaction removed]") : str_view_of(reaction), max_bytes);
    case GUICHET__V1__MESSAGE_KIND__MESSAGE_KIND_CLAIM:
        return cut(STR_LITERAL("[identity]"), max_bytes);
    case GUICHET__V1__MESSAGE_KIND__MESSAGE_KIND_UNSUPPORTED:
        return cut(STR_LITERAL("[unsupported]"), max_bytes);
    default:
        return preview_content(content, max_bytes);
    }
}

struct str_view preview_event(const Guichet__V1__InboundEvent *event, size_t max_bytes, struct arena *arena)
{
    switch (event->body_case) {
    case GUICHET__V1__INBOUND_EVENT__BODY_MESSAGE:
        return preview_content(event->message->content, max_bytes);
    case GUICHET__V1__INBOUND_EVENT__BODY_EDIT:
        return preview_content(event->edit->content, max_bytes);
    case GUICHET__V1__INBOUND_EVENT__BODY_DELETE:
        return cut(STR_LITERAL("[deleted]"), max_bytes);
    case GUICHET__V1__INBOUND_EVENT__BODY_REACTION:
        return preview_stored(GUICHET__V1__MESSAGE_KIND__MESSAGE_KIND_REACTION, event->reaction->is_removed,
                              event->reaction->reaction, NULL, max_bytes);
    case GUICHET__V1__INBOUND_EVENT__BODY_CLAIM:
        return cut(STR_LITERAL("[identity]"), max_bytes);
    case GUICHET__V1__INBOUND_EVENT__BODY_UNSUPPORTED:
        return cut(str_view_of(arena_printf(arena, "[unsupported: %s]",
                                            or_word(event->unsupported->provider_type, "unknown"))),
                   max_bytes);
    default:
        return STR_LITERAL("");
    }
}
