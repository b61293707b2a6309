/* The keeper's and the command's share of the work, step by step as Airlock's. */
#define _GNU_SOURCE
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define JOB_FILTER 224   /* instructions, as many as Airlock's filters have */
#define KEEPER_FILTER 49
#define STEPS 11         /* of them, until a call's answer is found: the kernel looks every call up when a filter is laid */

static const struct plan *plan;

static int tree(const char *path)
{
    return must(syscall(SYS_open_tree, AT_FDCWD, path, 1 /* OPEN_TREE_CLONE */ | O_CLOEXEC), path);
}

static void cover(int with, const char *path)
{
    must(syscall(SYS_move_mount, with, "", AT_FDCWD, path, 4 /* MOVE_MOUNT_F_EMPTY_PATH */), path);
    close(with);
}

static void mounts(void)
{
    static const struct { const char *path; mode_t mode; } own[] = {
        {"/tmp/tmp", 01777}, {"/tmp/var", 01777}, {"/tmp/shm", 01777}, {"/tmp/work", 0711}};
    must(mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL), "slave");
    int directory = tree(plan->directory);
    must(mount("kernel", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0711"), "/tmp");
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        must(mkdir(own[i].path, 0700), own[i].path);
        must(chmod(own[i].path, own[i].mode), own[i].path);
    }
    int folder = tree("/tmp/work");
    must(mount("/tmp/var", "/var/tmp", NULL, MS_BIND, NULL), "/var/tmp");
    must(mount("/tmp/shm", "/dev/shm", NULL, MS_BIND, NULL), "/dev/shm");
    must(mount("/tmp/tmp", "/tmp", NULL, MS_BIND, NULL), "/tmp");
    char path[256];
    snprintf(path, sizeof path, "%s", plan->folder);
    for (char *slash = path; (slash = strchr(slash + 1, '/'));) {
        *slash = 0;
        if (mkdir(path, 0711) < 0 && errno != EEXIST)
            die(path);
        *slash = '/';
    }
    if (mkdir(path, 0711) < 0 && errno != EEXIST)
        die(path);
    cover(folder, path);
    must(mkdir(plan->directory, 0711), "mkdir below the folder");
    cover(directory, plan->directory);
    must(mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL), "mount of proc");
}

static void empty_bounding_set(void)
{
    for (int bit = 0; prctl(PR_CAPBSET_DROP, bit, 0, 0, 0) == 0; bit++)
        ;
}

/* Allows everything, after as many comparisons as a real filter makes. */
static void filter(unsigned length)
{
    struct sock_filter code[JOB_FILTER] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0)};
    for (unsigned i = 1; i < length - 1; i++)
        code[i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 10000 + i, 0, 0);
    code[STEPS] = (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, length - STEPS - 2);
    code[length - 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {.len = (unsigned short)length, .filter = code};
    must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program), "seccomp");
}

static void command(int report)
{
    must(dup3(report, FD_PLAN, O_CLOEXEC), "dup3");
    for (uint32_t i = 0; i < plan->v1; i++)
        must(write(FD_V1 + (int)i, "0", 1), "joining a group");
    struct { void *handler; unsigned long flags; void *restorer; unsigned long mask; } ordinary = {0};
    for (int signal = 1; signal <= 64; signal++)
        if (signal != SIGKILL && signal != SIGSTOP)
            must(syscall(SYS_rt_sigaction, signal, &ordinary, NULL, 8), "sigaction");
    sigset_t none;
    sigemptyset(&none);
    must(sigprocmask(SIG_SETMASK, &none, NULL), "sigprocmask");
    must(setsid(), "setsid");
    must(close_range(4, ~0U, 0), "close_range");
    int score = must(open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC), "oom_score_adj");
    must(write(score, "0000", 4), "oom_score_adj");
    close(score);
    must(setrlimit(RLIMIT_NOFILE, &(struct rlimit){1024, 4096}), "rlimit");
    must(setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}), "rlimit");
    umask(0022);
    empty_bounding_set();
    gid_t group = plan->uid;
    must(setgroups(1, &group), "setgroups");
    must(setresgid(group, group, group), "setresgid");
    must(setresuid(plan->uid, plan->uid, plan->uid), "setresuid");
    if (setresuid(0, 0, 0) == 0 || setresgid(0, 0, 0) == 0 || getuid() != plan->uid || getgid() != plan->uid)
        die("the user can be changed back");
    must(chdir(plan->directory), "chdir");
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
    filter(JOB_FILTER);
    filter(4);
    must(write(FD_PLAN, "\xA5", 1), "report");
    execle(plan->program, plan->program, *plan->argument ? plan->argument : NULL, (char *)NULL, (char *const[]){"PATH=/usr/bin:/bin", NULL});
    _exit(127);
}

static uint64_t now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static void tell(struct record *record, uint64_t state)
{
    record->state = state;
    must(pwrite(FD_RECORD, record, sizeof *record, 0), "record");
    must(write(FD_EVENT, "", 1), "event");
}

static void end_the_rest(int kill, int events)
{
    char text[256];
    must(write(kill, "1", 1), "cgroup.kill");
    for (;;) {
        ssize_t length = must(pread(events, text, sizeof text - 1, 0), "cgroup.events");
        text[length] = 0;
        if (strstr(text, "populated 0"))
            return;
        must(poll(&(struct pollfd){.fd = events, .events = POLLPRI}, 1, 1000), "poll");
    }
}

int run_keeper(void)
{
    struct record record = {0};
    plan = mmap(NULL, sizeof *plan, PROT_READ, MAP_PRIVATE, FD_PLAN, 0);
    if (plan == MAP_FAILED)
        die("plan");
    int kill_file = must(openat(FD_CGROUP, "cgroup.kill", O_WRONLY | O_CLOEXEC), "cgroup.kill");
    int events = must(openat(FD_CGROUP, "cgroup.events", O_RDONLY | O_CLOEXEC), "cgroup.events");
    mounts();
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    must(sigprocmask(SIG_SETMASK, &children, NULL), "sigprocmask");
    int orphans = must(signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd"), report[2], pidfd;
    must(pipe2(report, O_CLOEXEC), "pipe");
    if (birth(FD_CGROUP, 0, &pidfd) == 0)
        command(report[1]);
    close(report[1]);
    for (int fd = 0; fd < 3; fd++)
        close(fd);
    for (int fd = FD_CGROUP; fd < FD_V1 + V1_MOST; fd++)
        close(fd);
    empty_bounding_set();
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct nothing[2] = {0};
    must(syscall(SYS_capset, &header, nothing), "capset");
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
    filter(KEEPER_FILTER);

    char said[32];
    ssize_t length, all = 0;
    while ((length = must(read(report[0], said + all, sizeof said - (size_t)all), "report")) > 0)
        all += length;
    if (all != 1)
        return 1;
    record.pidfd = (uint64_t)pidfd;
    tell(&record, STATE_STARTED);
    must(poll((struct pollfd[]){{.fd = pidfd, .events = POLLIN}, {.fd = orphans, .events = POLLIN}}, 2, -1), "poll");
    siginfo_t end;
    must(waitid(P_PIDFD, (id_t)pidfd, &end, WEXITED | WNOWAIT), "waitid");
    record.ended_ns = now();
    end_the_rest(kill_file, events);
    record.wait_status = (uint64_t)end.si_status;
    tell(&record, STATE_ENDED);
    for (;;)
        pause();
}
