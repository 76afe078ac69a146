/* SPDX-License-Identifier: Apache-2.0 */
/* words.c - enums as the API writes them.
 *
 * The prefix of an enum's values is its type's name in upper snake case (the protobuf
 * style guide's rule, which proto/ follows). */
#include "words.h"

#include <ctype.h>
#include <string.h>

/* Length of "CONVERSATION_STATE_" for "ConversationState". */
static size_t prefix_len(const ProtobufCEnumDescriptor *words)
{
    size_t len = 1;

    for (const char *c = words->short_name; *c != '\0'; c++)
        len += isupper((unsigned char)*c) && c != words->short_name ? 2 : 1;
    return len;
}

static bool is_word_of(const char *name, const char *text)
{
    size_t i;

    for (i = 0; name[i] != '\0'; i++) {
        if (text[i] != tolower((unsigned char)name[i]))
            return false;
    }
    return text[i] == '\0';
}

bool words_read(const ProtobufCEnumDescriptor *words, const char *text, int *ret_value)
{
    size_t prefix = prefix_len(words);

    for (unsigned i = 0; i < words->n_values; i++) {
        const char *name = words->values[i].name;

        if (strlen(name) <= prefix || strcmp(name + prefix, "UNSPECIFIED") == 0)
            continue;
        if (is_word_of(name + prefix, text)) {
            *ret_value = words->values[i].value;
            return true;
        }
    }
    return false;
}
