/*
 * The oracle of tests/seccomp_oracle.rs: builds filters with libseccomp the way runc does and prints their instructions.
 *
 * With an argument, the token of an architecture: the names and numbers it has.
 * Standard input, one filter after the other, numbers in C notation:
 *   default ACTION
 *   arch TOKEN                     (any number; the machine's own is removed unless named)
 *   rule ACTION NAME COUNT [ARGUMENT OPERATOR VALUE VALUE2]...
 *   end
 * Standard output: per filter one line of 16-digit instructions (code, jt, jf, k), preceded by "refused N" lines for
 * rules libseccomp does not take (N: the rule's place in the filter, from 0).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <linux/filter.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void fail(const char *what, int code)
{
	fprintf(stderr, "%s: %s\n", what, strerror(code < 0 ? -code : errno));
	exit(1);
}

static void print_filter(scmp_filter_ctx filter)
{
	struct sock_filter code;
	int fd = memfd_create("filter", MFD_CLOEXEC), rc;

	if (fd < 0)
		fail("memfd_create", 0);
	rc = seccomp_export_bpf(filter, fd);
	if (rc < 0)
		fail("seccomp_export_bpf", rc);
	if (lseek(fd, 0, SEEK_SET) < 0)
		fail("lseek", 0);
	while (read(fd, &code, sizeof(code)) == sizeof(code))
		printf("%04x%02x%02x%08x ", code.code, code.jt, code.jf, code.k);
	printf("\n");
	close(fd);
}

static int add_rule(scmp_filter_ctx filter)
{
	struct scmp_arg_cmp args[6];
	uint32_t action, argument, operator;
	unsigned int count;
	char name[128];
	int number;

	if (scanf("%" SCNi32 " %127s %u", (int32_t *)&action, name, &count) != 3 || count > 6)
		fail("rule", -EINVAL);
	for (unsigned int i = 0; i < count; i++) {
		if (scanf("%u %u %" SCNu64 " %" SCNu64, &argument, &operator, &args[i].datum_a, &args[i].datum_b) != 4)
			fail("condition", -EINVAL);
		args[i].arg = argument;
		args[i].op = operator;
	}
	number = seccomp_syscall_resolve_name(name);
	if (number == __NR_SCMP_ERROR)
		return 0;
	return seccomp_rule_add_array(filter, action, number, count, args);
}

/* The names of an architecture's numbers. */
static void print_names(uint32_t token)
{
	static const uint32_t ranges[][2] = {{0, 1000}, {0x40000000, 0x40000400}, {0xf0000, 0xf0020}};

	for (int range = 0; range < 3; range++)
		for (uint32_t nr = ranges[range][0]; nr < ranges[range][1]; nr++) {
			char *name = seccomp_syscall_resolve_num_arch(token, nr);

			if (name)
				printf("%s %u\n", name, nr);
			free(name);
		}
}

int main(int argc, char **argv)
{
	scmp_filter_ctx filter = NULL;
	int place = 0, native = 0, rules = 0;
	char word[16];
	uint32_t value;

	if (argc > 1) {
		print_names(strtoul(argv[1], NULL, 0));
		return 0;
	}
	while (scanf("%15s", word) == 1) {
		if (!strcmp(word, "default")) {
			if (scanf("%" SCNi32, (int32_t *)&value) != 1 || !(filter = seccomp_init(value)))
				fail("default", -EINVAL);
			place = native = rules = 0;
		} else if (!strcmp(word, "arch")) {
			if (scanf("%" SCNi32, (int32_t *)&value) != 1)
				fail("arch", -EINVAL);
			if (value == seccomp_arch_native())
				native = 1;
			else if (seccomp_arch_add(filter, value) < 0)
				fail("seccomp_arch_add", -EINVAL);
		} else if (!strcmp(word, "rule")) {
			if (!native && !rules && seccomp_arch_remove(filter, SCMP_ARCH_NATIVE) < 0)
				fail("seccomp_arch_remove", -EINVAL);
			rules = 1;
			if (add_rule(filter) < 0)
				printf("refused %d\n", place);
			place++;
		} else if (!strcmp(word, "end")) {
			print_filter(filter);
			seccomp_release(filter);
		}
	}
	return 0;
}
