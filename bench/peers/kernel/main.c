/* The bare kernel beside Airlock.
 *
 *   kernel plain JOBS IN_FLIGHT PROGRAM          mkdir cgroup, clone3 into it, exec, wait, rmdir
 *   kernel same  JOBS IN_FLIGHT PROGRAM FOLDER   what Airlock asks of the kernel for a job of the profile `standard`
 *   kernel hold  JOBS PROGRAM ARGUMENT FOLDER    as many of the same at once, until standard input ends
 *
 * The first two print the seconds that all jobs together took, the third the starts per second of its first and of its last ones. Needs root. FOLDER is where the jobs' directories are made. */
#define _GNU_SOURCE
#include "kernel.h"

#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

void die(const char *what)
{
    fprintf(stderr, "kernel: %s: %s\n", what, strerror(errno));
    exit(1);
}

int must(long result, const char *what)
{
    if (result < 0)
        die(what);
    return (int)result;
}

pid_t birth(int cgroup, uint64_t flags, int *pidfd)
{
    struct clone_args args = {
        .flags = flags | CLONE_PIDFD | CLONE_INTO_CGROUP | CLONE_CLEAR_SIGHAND,
        .pidfd = (uint64_t)(uintptr_t)pidfd,
        .exit_signal = SIGCHLD,
        .cgroup = (uint64_t)cgroup,
    };
    return (pid_t)must(syscall(SYS_clone3, &args, sizeof args), "clone3");
}

static unsigned number(const char *text, unsigned most)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*text == 0 || *end != 0 || value == 0 || value > most) {
        fprintf(stderr, "kernel: '%s' is not a number from 1 to %u\n", text, most);
        exit(2);
    }
    return (unsigned)value;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "keeper") == 0)
        return run_keeper();
    int plain = argc == 5 && strcmp(argv[1], "plain") == 0, hold = argc == 6 && strcmp(argv[1], "hold") == 0;
    if (!plain && !hold && !(argc == 6 && strcmp(argv[1], "same") == 0)) {
        fprintf(stderr, "usage: kernel plain JOBS IN_FLIGHT PROGRAM | kernel same JOBS IN_FLIGHT PROGRAM FOLDER"
                        " | kernel hold JOBS PROGRAM ARGUMENT FOLDER\n");
        return 2;
    }
    unsigned jobs = number(argv[2], 10000000), in_flight = hold ? 0 : number(argv[3], IN_FLIGHT_MOST);
    reserve_slots();
    groups_open();
    if (hold)
        run_hold(jobs, argv[3], argv[4], argv[5]);
    else
        printf("%.6f\n", plain ? run_plain(jobs, in_flight, argv[4]) : run_same(jobs, in_flight, argv[4], argv[5]));
    groups_close();
    return 0;
}
