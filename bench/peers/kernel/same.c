/* One process that brings jobs to life as the executor does: everything that the kernel does for a job, and nothing else. */
#define _GNU_SOURCE
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/sched.h>

#define FIRST_UID 1890000000u
#define NAMESPACES (CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS)

struct job {
    pid_t keeper;
    int event, out, err, spools[2], record;
    char directory[256];
    struct job_group group;
};

static const char *folder, *program, *argument = "";
static int audit;

static int memory_file(const char *name)
{
    return must(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING), "memfd_create");
}

static void note(const char *what, unsigned number)
{
    char line[512];
    int length = snprintf(line, sizeof line, "{\"%s\":%u,\"padding\":\"%0400d\"}\n", what, number, 0);
    must(write(audit, line, (size_t)length), "audit line");
}

static int sealed_plan(const struct job *job, uint32_t uid)
{
    struct plan plan = {.uid = uid, .v1 = (uint32_t)groups_v1()};
    snprintf(plan.folder, sizeof plan.folder, "%s", folder);
    snprintf(plan.directory, sizeof plan.directory, "%s", job->directory);
    snprintf(plan.program, sizeof plan.program, "%s", program);
    snprintf(plan.argument, sizeof plan.argument, "%s", argument);
    int fd = memory_file("plan");
    must(write(fd, &plan, sizeof plan), "plan");
    must(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), "seal");
    return fd;
}

/* The child shares the descriptor table until it has cut its own off, as with the executor. */
static pid_t exec_keeper(int *pidfd)
{
    pid_t pid = birth(groups_keepers(), CLONE_FILES | CLONE_VFORK | NAMESPACES, pidfd);
    if (pid != 0)
        return pid;
    if (close_range(FD_END, ~0U, CLOSE_RANGE_UNSHARE) < 0)
        _exit(126);
    for (int i = 0; i < 3; i++)
        if (dup2(FD_STDIO + i, i) < 0)
            _exit(126);
    close_range(FD_STDIO, ~0U, 0);
    execl("/proc/self/exe", "kernel", "keeper", (char *)NULL);
    _exit(127);
}

static void start(struct job *job, unsigned number)
{
    uint32_t uid = FIRST_UID + number % 65536;
    note("started", number);
    snprintf(job->directory, sizeof job->directory, "%s/job-%u", folder, number);
    must(mkdir(job->directory, 0700), job->directory);
    must(chown(job->directory, uid, uid), job->directory);
    group_make(&job->group, number);
    group_limit(&job->group);

    int out[2], err[2], event[2], lay[FD_END - FD_PLAN], used = 0, pidfd;
    job->record = memory_file("record");
    must(ftruncate(job->record, 4096), "record");
    must(fcntl(job->record, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL), "seal");
    must(pipe2(event, O_CLOEXEC | O_NONBLOCK), "pipe");
    must(fcntl(event[0], F_SETPIPE_SZ, 4096), "pipe size");
    must(pipe2(out, O_CLOEXEC), "pipe");
    must(pipe2(err, O_CLOEXEC), "pipe");
    must(fchmod(out[1], 0622), "pipe mode");
    must(fchmod(err[1], 0622), "pipe mode");
    job->spools[0] = memory_file("stdout");
    job->spools[1] = memory_file("stderr");
    job->event = event[0];
    job->out = out[0];
    job->err = err[0];

    int null = must(open("/dev/null", O_RDWR | O_CLOEXEC), "/dev/null"), plan = sealed_plan(job, uid), procs[V1_MOST];
    lay[used++] = plan;
    lay[used++] = job->record;
    lay[used++] = event[1];
    lay[used++] = out[0];
    lay[used++] = err[0];
    lay[used++] = job->spools[0];
    lay[used++] = job->spools[1];
    lay[used++] = job->group.v2;
    for (int i = 0; i < V1_MOST; i++) {
        procs[i] = i < groups_v1() ? group_procs(&job->group, i) : -1;
        lay[used++] = procs[i] < 0 ? null : procs[i];
    }
    lay[used++] = null;
    lay[used++] = out[1];
    lay[used++] = err[1];
    for (int i = 0; i < used; i++)
        must(dup2(lay[i], FD_PLAN + i), "dup2");
    job->keeper = exec_keeper(&pidfd);
    for (int i = 0; i < used; i++)
        must(dup2(null, FD_PLAN + i), "dup2");
    close(null);
    close(plan);
    close(pidfd);
    close(out[1]);
    close(err[1]);
    close(event[1]);
    for (int i = 0; i < groups_v1(); i++)
        close(procs[i]);
    group_close(&job->group);
}

/* Takes what the pipe still holds, to its end. */
static void drain(int pipe, int spool)
{
    while (must(splice(pipe, NULL, spool, NULL, 1 << 20, SPLICE_F_NONBLOCK), "splice") > 0)
        ;
    close(pipe);
    close(spool);
}

static void finish(struct job *job, unsigned number, const struct record *record)
{
    struct job_group group = job->group;
    if (record->wait_status != 0) {
        errno = EINVAL;
        die("the program did not end with 0");
    }
    group_open(&group);
    group_facts(&group);
    group_close(&group);
    drain(job->out, job->spools[0]);
    drain(job->err, job->spools[1]);
    must(rmdir(job->directory), job->directory);
    note("ended", number);
    if (!group_remove(&job->group))
        die("the job's group is still in use");
    must(kill(job->keeper, SIGKILL), "kill"); /* waited for when it has gone: the kernel takes its time over namespaces */
    close(job->event);
    close(job->record);
    job->keeper = 0;
}

void reserve_slots(void)
{
    close_range(FD_PLAN, ~0U, 0);
    for (int number = FD_PLAN; number < FD_END; number++) {
        errno = EMFILE;
        if (open("/dev/null", O_RDWR | O_CLOEXEC) != number)
            die("/dev/null");
    }
}

static void begin(const char *of, const char *in, char *path, size_t size)
{
    program = of;
    folder = in;
    snprintf(path, size, "%s/audit", folder);
    audit = must(open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600), path);
}

/* What a keeper has come to. */
static uint64_t told(const struct job *job, struct record *record)
{
    char events[16];
    if (must(read(job->event, events, sizeof events), "event") == 0)
        die("a keeper died");
    must(pread(job->record, record, sizeof *record, 0), "record");
    return record->state;
}

static void await_start(struct job *job)
{
    struct record record;
    must(poll(&(struct pollfd){.fd = job->event, .events = POLLIN}, 1, -1), "poll");
    if (told(job, &record) != STATE_STARTED) {
        errno = EINVAL;
        die("the program did not stay");
    }
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void run_hold(unsigned jobs, const char *of, const char *with, const char *in)
{
    enum { AT_ONCE = 16 };
    struct job *held = calloc(jobs, sizeof *held);
    unsigned first = jobs < 300 ? (jobs + 2) / 3 : 100, from = jobs - jobs * 2 / 3;
    char path[300];
    if (held == NULL)
        die("memory");
    argument = with;
    begin(of, in, path, sizeof path);
    double begun = seconds(), after_first = begun, at_last = begun;
    for (unsigned i = 0; i < jobs + AT_ONCE; i++) {
        if (i < jobs)
            start(&held[i], i);
        if (i >= AT_ONCE && i - AT_ONCE < jobs)
            await_start(&held[i - AT_ONCE]);
        if (i + 1 == first)
            after_first = seconds();
        if (i + 1 == from)
            at_last = seconds();
    }
    printf("%.2f %.2f\n", first / (after_first - begun), (jobs - from) / (seconds() - at_last));
    fflush(stdout);
    while (must(read(STDIN_FILENO, path, sizeof path), "standard input") > 0)
        ;
    for (unsigned i = 0; i < jobs; i++)
        must(kill(held[i].keeper, SIGKILL), "kill"); /* the first process of the job's pid namespace: all of it goes */
    while (waitpid(-1, NULL, 0) > 0)
        ;
    for (unsigned i = 0; i < jobs; i++) {
        must(rmdir(held[i].directory), held[i].directory);
        if (!group_remove(&held[i].group))
            die("a group is still in use");
    }
    snprintf(path, sizeof path, "%s/audit", folder);
    must(unlink(path), path);
    free(held);
}

double run_same(unsigned jobs, unsigned in_flight, const char *of, const char *in)
{
    struct job slots[IN_FLIGHT_MOST] = {0};
    struct pollfd wait[IN_FLIGHT_MOST];
    unsigned started = 0, ended = 0;
    char path[300];
    begin(of, in, path, sizeof path);
    double begun = seconds();
    while (ended < jobs) {
        for (unsigned i = 0; i < in_flight; i++) {
            if (slots[i].keeper == 0 && started < jobs)
                start(&slots[i], started++);
            wait[i] = (struct pollfd){.fd = slots[i].keeper ? slots[i].event : -1, .events = POLLIN};
        }
        must(poll(wait, in_flight, -1), "poll");
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        for (unsigned i = 0; i < in_flight; i++) {
            struct record record;
            if (wait[i].fd < 0 || wait[i].revents == 0)
                continue;
            if (told(&slots[i], &record) == STATE_ENDED)
                finish(&slots[i], ended++, &record);
        }
    }
    while (waitpid(-1, NULL, 0) > 0)
        ;
    double took = seconds() - begun;
    must(unlink(path), path);
    return took;
}
