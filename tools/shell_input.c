/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * shell_input.c - where the lines of kvlog shell come from.
 *
 * A script is read line by line.  Who types gets the line editing of libedit,
 * which is loaded now and not linked: it would cost every other command, which
 * lives for a millisecond, a third of it to load a library that it does not
 * use.  Without it, lines are what the terminal makes of them.
 *
 * The history is a file of lines in the user's directory, which nobody else can
 * read.
 */
#include "config.h"

#include "shell.h"

#include <errno.h>
#include <fcntl.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HISTORY_MAX 1000 /* lines */
#define SHOWN_MAX 100    /* of what a word can be completed to */

struct editor;

struct input {
	struct shell *sh;
	struct editor *editor; /* NULL: plain lines */
	char *line;            /* of getline() */
	size_t size;
};

#if HAVE_LIBEDIT
#include <dlfcn.h>
#include <histedit.h>

struct editor {
	EditLine *el;
	History *history;
	char *path;   /* of its file; NULL: not kept */
	char *prompt; /* of the line being typed */
	struct input *in;
	EditLine *(*init)(const char *, FILE *, FILE *, FILE *);
	void (*end)(EditLine *);
	int (*set)(EditLine *, int, ...);
	const char *(*gets)(EditLine *, int *);
	const LineInfo *(*line)(EditLine *);
	int (*insert)(EditLine *, const char *);
	void (*erase)(EditLine *, int);
	History *(*history_init)(void);
	void (*history_end)(History *);
	int (*history_do)(History *, HistEvent *, int, ...);
};

/* There is one terminal, and so one editor: what it calls finds it here. */
static struct editor *the_editor;

/* A name of the library; false: it has none such. */
static bool
find_function(void *library, const char *name, void *ret_function)
{
	void *function = dlsym(library, name);

	/* Between pointers to data and to functions C knows no cast. */
	memcpy(ret_function, &function, sizeof function);
	return function != NULL;
}

static bool
find_functions(void *library, struct editor *ed)
{
	return find_function(library, "el_init", &ed->init) &&
	       find_function(library, "el_end", &ed->end) &&
	       find_function(library, "el_set", &ed->set) &&
	       find_function(library, "el_gets", &ed->gets) &&
	       find_function(library, "el_line", &ed->line) &&
	       find_function(library, "el_insertstr", &ed->insert) &&
	       find_function(library, "el_deletestr", &ed->erase) &&
	       find_function(library, "history_init", &ed->history_init) &&
	       find_function(library, "history_end", &ed->history_end) &&
	       find_function(library, "history", &ed->history_do);
}

static bool
load_library(struct editor *ed)
{
	/* Debian's name, that of others, and that of a system for building. */
	static const char *const names[] = {
	    "libedit.so.2", "libedit.so.0", "libedit.so"};

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		void *library = dlopen(names[i], RTLD_NOW);

		if (library != NULL)
			return find_functions(library, ed);
	}
	return false;
}

/* Completion */

struct completion {
	char *common; /* what all have in common, escaped; NULL: none yet */
	char *shown;  /* all of them, one to a line */
	size_t shown_size;
	FILE *file; /* into shown */
	size_t count;
};

/* As it is typed: a blank would end it. */
static char *
typed(struct bytes word)
{
	char *escaped = text_escaped(word), *text;
	size_t blanks = 0, at = 0;

	for (const char *p = escaped; p != NULL && *p != '\0'; p++)
		blanks += *p == ' ';
	if (escaped == NULL || blanks == 0)
		return escaped;
	text = malloc(strlen(escaped) + 3 * blanks + 1);
	for (const char *p = escaped; text != NULL && *p != '\0'; p++) {
		if (*p == ' ') {
			memcpy(text + at, "\\x20", 4);
			at += 4;
		} else {
			text[at++] = *p;
		}
	}
	if (text != NULL)
		text[at] = '\0';
	free(escaped);
	return text;
}

static bool
add_word(void *arg, struct bytes word)
{
	struct completion *c = arg;
	char *text = typed(word);
	size_t same = 0;

	if (text == NULL)
		return false;
	if (c->count++ < SHOWN_MAX)
		fprintf(c->file, "%s\n", text);
	if (c->common == NULL) {
		c->common = text;
		return true;
	}
	while (c->common[same] != '\0' && c->common[same] == text[same])
		same++;
	c->common[same] = '\0';
	free(text);
	return c->count <= SHOWN_MAX;
}

/* Put what is certain in place of the word, or show what there is. */
static unsigned char
apply(struct editor *ed, struct completion *c, const char *word, size_t len)
{
	if (c->count == 0)
		return CC_ERROR;
	if (c->count == 1 || strlen(c->common) > len ||
	    strncmp(c->common, word, len) != 0) {
		ed->erase(ed->el, (int)len);
		if (ed->insert(ed->el, c->common) != 0)
			return CC_ERROR;
		if (c->count == 1)
			(void)ed->insert(ed->el, " ");
		return CC_REFRESH;
	}
	printf("\n%s%s", c->shown, c->count > SHOWN_MAX ? "...\n" : "");
	(void)fflush(stdout);
	return CC_REDISPLAY;
}

static unsigned char
complete(EditLine *el, int ch)
{
	struct completion c = {0};
	struct editor *ed = the_editor;
	const LineInfo *line;
	unsigned char result = CC_ERROR;
	size_t len, word = 0;

	(void)ch;
	line = ed->line(el);
	len = (size_t)(line->cursor - line->buffer);
	c.file = open_memstream(&c.shown, &c.shown_size);
	if (c.file == NULL)
		return CC_ERROR;
	shell_complete(ed->in->sh, line->buffer, len, &word, add_word, &c);
	if (fclose(c.file) == 0 && (c.count == 0 || c.common != NULL))
		result = apply(ed, &c, line->buffer + word, len - word);
	free(c.common);
	free(c.shown);
	return result;
}

/* History */

/* In the user's own directory, if he has one. */
static char *
history_path(void)
{
	static const struct {
		const char *variable, *name;
	} places[] = {
	    {"XDG_STATE_HOME", "kvlog_history"}, {"HOME", ".kvlog_history"}};
	struct stat st;

	for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
		const char *dir = getenv(places[i].variable);
		size_t size;
		char *path;

		if (dir == NULL || dir[0] != '/' || stat(dir, &st) != 0 ||
		    !S_ISDIR(st.st_mode) || st.st_uid != geteuid())
			continue;
		size = strlen(dir) + strlen(places[i].name) + 2;
		path = malloc(size);
		if (path != NULL)
			snprintf(path, size, "%s/%s", dir, places[i].name);
		return path;
	}
	return NULL;
}

/* Its file, if it is one; NULL: none. */
static FILE *
open_history(const char *path, int flags, const char *mode)
{
	struct stat st;
	FILE *file = NULL;
	int fd;

	if (path == NULL)
		return NULL;
	fd = open(path, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	    st.st_uid == geteuid())
		file = fdopen(fd, mode);
	if (file == NULL)
		close(fd);
	return file;
}

static void
load_history(struct editor *ed)
{
	FILE *file = open_history(ed->path, O_RDONLY, "r");
	HistEvent event;
	char *line = NULL;
	size_t size = 0;

	while (file != NULL && getline(&line, &size, file) > 0)
		(void)ed->history_do(ed->history, &event, H_ENTER, line);
	free(line);
	if (file != NULL)
		(void)fclose(file);
}

static void
save_history(struct editor *ed)
{
	FILE *file = open_history(ed->path, O_WRONLY | O_CREAT | O_TRUNC, "w");
	HistEvent event;
	int more;

	if (file == NULL)
		return;
	more = ed->history_do(ed->history, &event, H_LAST);
	for (; more == 0; more = ed->history_do(ed->history, &event, H_PREV)) {
		fputs(event.str, file);
		if (strchr(event.str, '\n') == NULL)
			putc('\n', file);
	}
	(void)fclose(file);
}

/* The editor */

static char *
prompt_of(EditLine *el)
{
	(void)el;
	return the_editor->prompt;
}

static void
editor_close(struct editor *ed)
{
	if (ed == NULL)
		return;
	if (ed->el != NULL)
		ed->end(ed->el);
	if (ed->history != NULL) {
		save_history(ed);
		ed->history_end(ed->history);
	}
	free(ed->path);
	free(ed);
}

/* libedit drops bytes that the locale has no characters for, and keys are often
 * UTF-8 where the locale says nothing. */
static void
take_characters(void)
{
	if (setlocale(LC_CTYPE, "") != NULL &&
	    strcmp(nl_langinfo(CODESET), "UTF-8") == 0)
		return;
	if (setlocale(LC_CTYPE, "C.UTF-8") == NULL)
		(void)setlocale(LC_CTYPE, "");
}

static struct editor *
editor_open(struct input *in, bool history)
{
	static char none[] = "";
	struct editor *ed = calloc(1, sizeof *ed);
	HistEvent event;

	if (ed == NULL)
		return NULL;
	ed->in = in;
	ed->prompt = none;
	take_characters();
	if (load_library(ed))
		ed->el = ed->init("kvlog", stdin, stdout, stderr);
	if (ed->el == NULL) {
		editor_close(ed);
		return NULL;
	}
	the_editor = ed;
	(void)ed->set(ed->el, EL_PROMPT, prompt_of);
	(void)ed->set(ed->el, EL_SIGNAL, 1);
	(void)ed->set(ed->el, EL_EDITOR, "emacs");
	(void)ed->set(ed->el, EL_ADDFN, "kvlog-complete",
	    "complete a command or key", complete);
	(void)ed->set(ed->el, EL_BIND, "^I", "kvlog-complete", NULL);
	ed->history = ed->history_init();
	if (ed->history != NULL) {
		ed->path = history ? history_path() : NULL;
		(void)ed->history_do(
		    ed->history, &event, H_SETSIZE, HISTORY_MAX);
		(void)ed->history_do(ed->history, &event, H_SETUNIQUE, 1);
		load_history(ed);
		(void)ed->set(ed->el, EL_HIST, ed->history_do, ed->history);
	}
	return ed;
}

/* As input_line(). */
static char *
editor_line(struct editor *ed, char *prompt, size_t *ret_len)
{
	HistEvent event;
	const char *line;
	char *copy;
	int len = 0;

	ed->prompt = prompt;
	errno = 0;
	line = ed->gets(ed->el, &len);
	if (line == NULL || len <= 0)
		return NULL;
	if (len > 1 && ed->history != NULL)
		(void)ed->history_do(ed->history, &event, H_ENTER, line);
	copy = realloc(ed->in->line, (size_t)len + 1);
	if (copy == NULL)
		return NULL;
	ed->in->line = copy;
	memcpy(copy, line, (size_t)len);
	*ret_len = (size_t)len - (copy[len - 1] == '\n' ? 1 : 0);
	copy[*ret_len] = '\0';
	return copy;
}
#else
static struct editor *
editor_open(struct input *in, bool history)
{
	(void)in;
	(void)history;
	return NULL;
}

static void
editor_close(struct editor *ed)
{
	(void)ed;
}

static char *
editor_line(struct editor *ed, char *prompt, size_t *ret_len)
{
	(void)ed;
	(void)prompt;
	(void)ret_len;
	return NULL;
}
#endif

struct input *
input_open(struct shell *sh, bool history)
{
	struct input *in = calloc(1, sizeof *in);

	if (in == NULL)
		return NULL;
	in->sh = sh;
	if (sh->interactive && isatty(STDOUT_FILENO) == 1)
		in->editor = editor_open(in, history);
	return in;
}

void
input_close(struct input *in)
{
	if (in == NULL)
		return;
	editor_close(in->editor);
	free(in->line);
	free(in);
}

char *
input_line(struct input *in, char *prompt, size_t *ret_len)
{
	ssize_t len;

	if (in->editor != NULL)
		return editor_line(in->editor, prompt, ret_len);
	if (in->sh->interactive) {
		fputs(prompt, stderr);
		(void)fflush(stderr);
	}
	errno = 0;
	len = getline(&in->line, &in->size, stdin);
	if (len < 0)
		return NULL;
	*ret_len = (size_t)len;
	if (len > 0 && in->line[len - 1] == '\n')
		in->line[--*ret_len] = '\0';
	/* Of a file with lines as other systems end them. */
	if (!in->sh->interactive && *ret_len > 0 &&
	    in->line[*ret_len - 1] == '\r')
		in->line[--*ret_len] = '\0';
	return in->line;
}
