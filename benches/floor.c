// floor: the least kernel work for the same containers: what kiste is measured against (DESIGN.md §5).
//
// Static C, no reading of configurations, no state, no checks that a runtime owes its users: only the system calls of the
// container that `kiste spec` describes (with `true` as its process), each in its cheapest form.
//
//   floor run ROOT CGROUP [V1-CGROUP…]  a new container as root; CGROUP is a directory of cgroup v2, the others of v1:
//                                       one child directory is made, used and removed in each
//   floor user ROOT                     a new container as a plain user (`kiste spec --rootless`)
//   floor exec PID CGROUP [V1-CGROUP…]  `true` as one more process of a container; the directories are the container's own
//
// `true` is looked for at /bin/true. The status is the process's.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST 16
#define NAMESPACES (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS)
// CAP_KILL, CAP_NET_BIND_SERVICE, CAP_AUDIT_WRITE
#define KEPT (1u << 5 | 1u << 10 | 1u << 29)

#define CHECK(call) check((long)(call), #call)

static long check(long result, const char *what) {
    if (result < 0) {
        fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
        _exit(126);
    }
    return result;
}

static void put(const char *path, const char *text) {
    int file = CHECK(open(path, O_WRONLY | O_CLOEXEC));
    CHECK(write(file, text, strlen(text)));
    close(file);
}

// The control groups of one container: made below the given parents, or the container's own.
static char groups[MOST][512];
static int count;
static int v1_procs[MOST];

// v2: deny all devices but the harmless ones, as one cgroup program; here: allow by a mask of (type, major), the shape of
// the real one without its comparisons one by one.
static void device_program(int group) {
    struct bpf_insn program[] = {
        {.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 2, .src_reg = 1, .off = 4},
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 1},
        {.code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = 2, .imm = 1, .off = 3},
        {.code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = 2, .imm = 5, .off = 2},
        {.code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = 2, .imm = 136, .off = 1},
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 0},
        {.code = BPF_JMP | BPF_EXIT},
    };
    union bpf_attr load = {.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE, .insn_cnt = sizeof program / sizeof *program,
                           .insns = (unsigned long)program, .license = (unsigned long)"Apache-2.0"};
    int loaded = CHECK(syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load));
    union bpf_attr attach = {.target_fd = group, .attach_bpf_fd = loaded, .attach_type = BPF_CGROUP_DEVICE,
                             .attach_flags = BPF_F_ALLOW_MULTI};
    CHECK(syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach));
    close(loaded);
}

static void device_rules(const char *group) {
    static const char *allowed[] = {"c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm",
                                    "c 1:9 rwm", "c 5:0 rwm", "c 5:1 rwm", "c 5:2 rwm", "c 136:* rwm"};
    char path[600];
    snprintf(path, sizeof path, "%s/devices.deny", group);
    put(path, "a");
    snprintf(path, sizeof path, "%s/devices.allow", group);
    for (unsigned i = 0; i < sizeof allowed / sizeof *allowed; i++)
        put(path, allowed[i]);
}

// A new cpuset of v1 takes nobody before it has processors and memory.
static void copy_up(const char *group, const char *file) {
    char path[600], text[256];
    snprintf(path, sizeof path, "%.*s/%s", (int)(strrchr(group, '/') - group), group, file);
    int parent = CHECK(open(path, O_RDONLY | O_CLOEXEC));
    ssize_t length = CHECK(read(parent, text, sizeof text - 1));
    close(parent);
    text[length] = 0;
    snprintf(path, sizeof path, "%s/%s", group, file);
    put(path, text);
}

// Opens the groups, after making them if `make`. The descriptor of the v2 one.
static int join_groups(char **parents, int number, int make) {
    int v2 = -1;
    count = number < MOST ? number : MOST;
    for (int i = 0; i < count; i++) {
        if (make) {
            snprintf(groups[i], sizeof groups[i], "%s/floor-%d", parents[i], getpid());
            CHECK(mkdir(groups[i], 0755));
        } else {
            snprintf(groups[i], sizeof groups[i], "%s", parents[i]);
        }
        if (i == 0) {
            v2 = CHECK(open(groups[0], O_DIRECTORY | O_RDONLY | O_CLOEXEC));
            if (make && count == 1)
                device_program(v2);
            continue;
        }
        char path[600];
        if (make && strstr(groups[i], "/cpuset/")) {
            copy_up(groups[i], "cpuset.cpus");
            copy_up(groups[i], "cpuset.mems");
        }
        if (make && strstr(groups[i], "/devices/"))
            device_rules(groups[i]);
        snprintf(path, sizeof path, "%s/cgroup.procs", groups[i]);
        v1_procs[i] = CHECK(open(path, O_WRONLY | O_CLOEXEC));
    }
    return v2;
}

static void enter_v1_groups(void) {
    for (int i = 1; i < count; i++)
        CHECK(write(v1_procs[i], "0", 1));
}

static void remove_groups(void) {
    for (int i = 0; i < count; i++)
        for (int tries = 0; rmdir(groups[i]) && errno == EBUSY && tries < 1000; tries++)
            usleep(100);
}

static void loopback_up(void) {
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int sock = CHECK(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    CHECK(ioctl(sock, SIOCSIFFLAGS, &request));
    close(sock);
}

// What the payload may do: spec's capabilities, resource limit and no_new_privs.
static void drop_privileges(int keep_all_groups) {
    struct rlimit files = {1024, 1024};
    CHECK(setrlimit(RLIMIT_NOFILE, &files));
    for (int capability = 0; capability < 64; capability++)
        if ((capability >= 32 || !(KEPT >> capability & 1)) && prctl(PR_CAPBSET_DROP, capability) < 0)
            break; // past the kernel's last one
    if (!keep_all_groups)
        CHECK(syscall(SYS_setgroups, 0, 0));
    CHECK(syscall(SYS_setresgid, 0, 0, 0));
    CHECK(syscall(SYS_setresuid, 0, 0, 0));
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{KEPT, KEPT, 0}, {0, 0, 0}};
    CHECK(syscall(SYS_capset, &header, data));
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static void cgroup_mounts(void) {
    unsigned long flags = MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY;
    if (count == 1) {
        CHECK(mount("cgroup", "sys/fs/cgroup", "cgroup2", flags, 0));
        return;
    }
    CHECK(mount("tmpfs", "sys/fs/cgroup", "tmpfs", flags & ~MS_RDONLY, "mode=755"));
    for (int i = 0; i < count; i++) {
        // …/memory/x/y/floor-1: the hierarchy's name is the first word below /sys/fs/cgroup.
        char name[64] = "", path[128], data[96];
        sscanf(groups[i], "/sys/fs/cgroup/%63[^/]", name);
        snprintf(path, sizeof path, "sys/fs/cgroup/%s", name);
        CHECK(mkdir(path, 0755));
        snprintf(data, sizeof data, "%s%s", strcmp(name, "systemd") ? "" : "none,name=", name);
        if (i == 0)
            CHECK(mount("cgroup2", path, "cgroup2", flags, 0));
        else
            CHECK(mount("cgroup", path, "cgroup", flags, data));
    }
    CHECK(mount(0, "sys/fs/cgroup", 0, MS_REMOUNT | MS_BIND | flags, 0));
}

static void device_nodes(int user) {
    static const struct { const char *name; int major, minor; } devices[] = {
        {"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};
    static const char *links[][2] = {{"/proc/self/fd", "dev/fd"}, {"/proc/self/fd/0", "dev/stdin"},
        {"/proc/self/fd/1", "dev/stdout"}, {"/proc/self/fd/2", "dev/stderr"}, {"/proc/kcore", "dev/core"},
        {"pts/ptmx", "dev/ptmx"}};
    for (unsigned i = 0; i < sizeof devices / sizeof *devices; i++) {
        char path[32], source[32];
        snprintf(path, sizeof path, "dev/%s", devices[i].name);
        if (user) {
            // A plain user can't make nodes: the host's are bound over empty files.
            snprintf(source, sizeof source, "/dev/%s", devices[i].name);
            close(CHECK(open(path, O_CREAT | O_CLOEXEC, 0644)));
            CHECK(mount(source, path, 0, MS_BIND, 0));
        } else {
            CHECK(mknod(path, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)));
        }
    }
    for (unsigned i = 0; i < sizeof links / sizeof *links; i++)
        CHECK(symlink(links[i][0], links[i][1]));
}

static void hide_and_protect(void) {
    static const char *hidden[] = {"proc/acpi", "proc/asound", "proc/interrupts", "proc/kcore", "proc/keys",
        "proc/latency_stats", "proc/sched_debug", "proc/scsi", "proc/timer_list", "proc/timer_stats",
        "sys/devices/virtual/powercap", "sys/firmware"};
    static const char *readonly[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
    for (unsigned i = 0; i < sizeof readonly / sizeof *readonly; i++)
        if (!mount(readonly[i], readonly[i], 0, MS_BIND | MS_REC, 0))
            CHECK(mount(0, readonly[i], 0, MS_BIND | MS_REMOUNT | MS_RDONLY, 0));
    for (unsigned i = 0; i < sizeof hidden / sizeof *hidden; i++) {
        struct stat found;
        if (stat(hidden[i], &found))
            continue;
        if (S_ISDIR(found.st_mode))
            CHECK(mount("tmpfs", hidden[i], "tmpfs", MS_RDONLY, "nr_blocks=1,nr_inodes=1"));
        else
            CHECK(mount("/dev/null", hidden[i], 0, MS_BIND, 0));
    }
}

static void mounts(const char *root, int user) {
    unsigned long safe = MS_NOSUID | MS_NOEXEC | MS_NODEV;
    CHECK(mount(0, "/", 0, MS_REC | MS_SLAVE, 0));
    CHECK(mount(root, root, 0, MS_BIND | MS_REC, 0));
    CHECK(chdir(root));
    CHECK(mount("proc", "proc", "proc", 0, 0));
    CHECK(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"));
    CHECK(mkdir("dev/pts", 0755));
    CHECK(mkdir("dev/shm", 0755));
    CHECK(mkdir("dev/mqueue", 0755));
    CHECK(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
                user ? "newinstance,ptmxmode=0666,mode=0620" : "newinstance,ptmxmode=0666,mode=0620,gid=5"));
    CHECK(mount("shm", "dev/shm", "tmpfs", safe, "mode=1777,size=65536k"));
    CHECK(mount("mqueue", "dev/mqueue", "mqueue", safe, 0));
    if (user) {
        struct mount_attr readonly = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC};
        CHECK(mount("/sys", "sys", 0, MS_BIND | MS_REC, 0));
        CHECK(syscall(SYS_mount_setattr, AT_FDCWD, "sys", AT_RECURSIVE, &readonly, sizeof readonly));
    } else {
        CHECK(mount("sysfs", "sys", "sysfs", safe | MS_RDONLY, 0));
        cgroup_mounts();
    }
    device_nodes(user);
    hide_and_protect();
    CHECK(mount(0, ".", 0, MS_REMOUNT | MS_BIND | MS_RDONLY, 0));
    CHECK(syscall(SYS_pivot_root, ".", "."));
    CHECK(umount2(".", MNT_DETACH));
    CHECK(chdir("/"));
}

static void payload(void) {
    static char *arguments[] = {"true", 0};
    static char *environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm", "HOME=/root", 0};
    umask(022);
    CHECK(execve("/bin/true", arguments, environment));
}

static int status_of(pid_t child) {
    int status;
    CHECK(waitpid(child, &status, __WALL));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int container(const char *root, int group, int user) {
    int ready[2];
    unsigned long flags = NAMESPACES | (user ? CLONE_NEWUSER | CLONE_NEWCGROUP : CLONE_NEWNET | CLONE_INTO_CGROUP);
    struct clone_args arguments = {.flags = flags, .exit_signal = SIGCHLD, .cgroup = user ? 0 : group};
    if (user)
        CHECK(pipe2(ready, O_CLOEXEC));
    unsigned uid = geteuid(), gid = getegid();
    pid_t child = CHECK(syscall(SYS_clone3, &arguments, sizeof arguments));
    if (child == 0) {
        char byte;
        if (user)
            CHECK(read(ready[0], &byte, 1));
        enter_v1_groups();
        if (!user) {
            CHECK(unshare(CLONE_NEWCGROUP));
            loopback_up();
        }
        CHECK(sethostname("floor", 5));
        syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0);
        mounts(root, user);
        CHECK(setsid());
        drop_privileges(user);
        payload();
    }
    if (user) {
        char path[64], map[64];
        snprintf(path, sizeof path, "/proc/%d/setgroups", child);
        put(path, "deny");
        snprintf(path, sizeof path, "/proc/%d/uid_map", child);
        snprintf(map, sizeof map, "0 %u 1", uid);
        put(path, map);
        snprintf(path, sizeof path, "/proc/%d/gid_map", child);
        snprintf(map, sizeof map, "0 %u 1", gid);
        put(path, map);
        CHECK(write(ready[1], "", 1));
    }
    int status = status_of(child);
    remove_groups();
    return status;
}

static int one_more_process(pid_t target, int group) {
    int pidfd = CHECK(syscall(SYS_pidfd_open, target, 0));
    struct clone_args arguments = {.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = group};
    CHECK(setns(pidfd, CLONE_NEWPID));
    pid_t child = CHECK(syscall(SYS_clone3, &arguments, sizeof arguments));
    if (child == 0) {
        enter_v1_groups();
        CHECK(setns(pidfd, CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP));
        close(pidfd);
        syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0);
        CHECK(setsid());
        drop_privileges(0);
        payload();
    }
    return status_of(child);
}

int main(int count, char **words) {
    if (count == 3 && !strcmp(words[1], "user"))
        return container(words[2], -1, 1);
    if (count >= 4 && !strcmp(words[1], "run"))
        return container(words[2], join_groups(words + 3, count - 3, 1), 0);
    if (count >= 4 && !strcmp(words[1], "exec"))
        return one_more_process(atoi(words[2]), join_groups(words + 3, count - 3, 0));
    fprintf(stderr, "usage: floor run ROOT CGROUP [V1-CGROUP…] | floor user ROOT | floor exec PID CGROUP [V1-CGROUP…]\n");
    return 2;
}
