// shim: what a caller such as conmon or containerd's shim does with one container, for measuring it: `create`, `start`,
// the end of the container's process, `delete`.
//
//   shim RUNTIME PID-FILE BUNDLE ID [GLOBAL-OPTION…]
//
// The container's first process becomes the shim's child, as it does under the real ones.
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

extern char **environ;

static int wait_for(pid_t child) {
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return 127;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void run(char **words, int options, char **more) {
    char *arguments[64];
    int length = 0;
    arguments[length++] = words[1];
    for (int i = 0; i < options && length < 32; i++)
        arguments[length++] = words[5 + i];
    while (*more && length < 62)
        arguments[length++] = *more++;
    arguments[length] = 0;
    pid_t child;
    int failed = posix_spawn(&child, words[1], 0, 0, arguments, environ);
    int status = failed ? 127 : wait_for(child);
    if (status) {
        fprintf(stderr, "shim: %s %s: %s %d\n", words[1], arguments[1 + options], failed ? strerror(failed) : "status", status);
        exit(status);
    }
}

int main(int count, char **words) {
    if (count < 5) {
        fprintf(stderr, "usage: shim RUNTIME PID-FILE BUNDLE ID [GLOBAL-OPTION…]\n");
        return 2;
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    run(words, count - 5, (char *[]){"create", "--pid-file", words[2], "--bundle", words[3], words[4], 0});
    pid_t pid = 0;
    FILE *file = fopen(words[2], "r");
    if (!file || fscanf(file, "%d", &pid) != 1) {
        fprintf(stderr, "shim: %s: no pid\n", words[2]);
        return 1;
    }
    fclose(file);
    run(words, count - 5, (char *[]){"start", words[4], 0});
    int status = wait_for(pid);
    run(words, count - 5, (char *[]){"delete", words[4], 0});
    return status;
}
