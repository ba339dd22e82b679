/* penstock completion: verbs, their own words and flags, for three shells, from the table of verbs. Behind them files are
 * completed. */
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "verbs.h"

#define WORDS_MAX 64u

/* Words of a verb that can be completed: flags, and the alternatives and commands that its usage writes in small letters. */
struct words {
    struct text_slice items[WORDS_MAX];
    size_t count;
};

static bool is_word_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

static void words_add(struct words *words, struct text_slice word)
{
    for (size_t i = 0; i < words->count; i++) {
        if (words->items[i].bytes == word.bytes &&
            memcmp(words->items[i].data, word.data, word.bytes) == 0)
            return;
    }
    CHECK(words->count < WORDS_MAX);
    words->items[words->count++] = word;
}

/* A flag's values (behind it) are no words of the verb. */
static struct words words_of(const struct verb *verb)
{
    struct words words = {.count = 0};
    bool is_value = false;

    for (const char *at = verb->usage; *at != '\0';) {
        const char *begin = at;
        while (is_word_byte(*at))
            at++;
        struct text_slice word = {begin, (size_t)(at - begin)};
        bool is_flag = word.bytes > 2 && memcmp(begin, "--", 2) == 0;
        if (word.bytes > 0 && (is_flag || !is_value))
            words_add(&words, word);
        if (is_flag)
            is_value = *at == ' ';
        while (*at != '\0' && !is_word_byte(*at)) {
            is_value &= *at != ']' && *at != '\n';
            at++;
        }
    }
    return words;
}

static void words_print(const struct words *words)
{
    for (size_t i = 0; i < words->count; i++)
        (void)printf("%s%.*s", i > 0 ? " " : "", (int)words->items[i].bytes, words->items[i].data);
}

static void verbs_print(void)
{
    for (size_t i = 0; i < verb_count; i++)
        (void)printf("%s%s", i > 0 ? " " : "", verb_table[i].name);
}

static void print_bash(void)
{
    (void)printf("# bash completion of penstock; from `penstock completion bash`\n"
                 "_penstock() {\n"
                 "  local word=\"${COMP_WORDS[COMP_CWORD]}\" words\n"
                 "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
                 "    words=\"");
    verbs_print();
    (void)printf("\"\n  else\n    case \"${COMP_WORDS[1]}\" in\n");
    for (size_t i = 0; i < verb_count; i++) {
        struct words words = words_of(&verb_table[i]);
        (void)printf("      %s) words=\"", verb_table[i].name);
        if (strcmp(verb_table[i].name, "help") == 0)
            verbs_print();
        else
            words_print(&words);
        (void)printf("\" ;;\n");
    }
    (void)printf("    esac\n"
                 "  fi\n"
                 "  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
                 "}\n"
                 "complete -o default -o bashdefault -F _penstock penstock\n");
}

static void print_zsh(void)
{
    (void)printf("#compdef penstock\n# zsh completion of penstock; from `penstock completion zsh`\n"
                 "if (( CURRENT == 2 )); then\n  compadd -- ");
    verbs_print();
    (void)printf("\n  return\nfi\ncase \"${words[2]}\" in\n");
    for (size_t i = 0; i < verb_count; i++) {
        struct words words = words_of(&verb_table[i]);
        (void)printf("  %s) compadd -- ", verb_table[i].name);
        if (strcmp(verb_table[i].name, "help") == 0)
            verbs_print();
        else
            words_print(&words);
        (void)printf(" ;;\n");
    }
    (void)printf("esac\n_files\n");
}

/* One line of help: its first, up to where its sentence pauses. */
static void summary_print(const struct verb *verb)
{
    for (const char *at = verb->help; *at != '\0' && *at != ';' && *at != '\n'; at++) {
        if (*at == '\'')
            (void)fputs("\\'", stdout);
        else
            (void)fputc(*at, stdout);
    }
}

static void print_fish(void)
{
    (void)printf("# fish completion of penstock; from `penstock completion fish`\n");
    for (size_t i = 0; i < verb_count; i++) {
        struct words words = words_of(&verb_table[i]);
        (void)printf("complete -c penstock -n __fish_use_subcommand -f -a %s -d '",
                     verb_table[i].name);
        summary_print(&verb_table[i]);
        (void)printf("'\n");
        if (words.count == 0)
            continue;
        (void)printf("complete -c penstock -n '__fish_seen_subcommand_from %s' -a '",
                     verb_table[i].name);
        words_print(&words);
        (void)printf("'\n");
    }
}

int verb_completion(int argument_count, char **arguments)
{
    static const struct {
        const char *name;
        void (*print)(void);
    } shells[] = {{"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};
    const char *shell = NULL;

    if (!arguments_read("completion", argument_count, arguments, NULL, 0, &shell))
        return EXIT_USAGE;
    for (size_t i = 0; shell != NULL && i < ARRAY_COUNT(shells); i++) {
        if (strcmp(shell, shells[i].name) == 0) {
            shells[i].print();
            return ferror(stdout) ? 1 : 0;
        }
    }
    (void)fprintf(stderr, "penstock completion: which shell? bash, zsh or fish\n");
    return EXIT_USAGE;
}
