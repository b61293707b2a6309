/* What the modes of the kernel peer share. Every failure ends the program with the call that failed: a peer that leaves work out
 * would make Airlock look slow. */
#ifndef KERNEL_H
#define KERNEL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define V1_MOST 4
#define IN_FLIGHT_MOST 64

/* Descriptors that a keeper finds open, and where its standard streams lie before they are moved to 0, 1 and 2. */
enum { FD_PLAN = 3, FD_RECORD, FD_EVENT, FD_OUT, FD_ERR, FD_SPOOL_OUT, FD_SPOOL_ERR, FD_CGROUP, FD_V1,
       FD_STDIO = FD_V1 + V1_MOST, FD_END = FD_STDIO + 3 };

enum { STATE_STARTED = 1, STATE_ENDED = 2 };

/* What the keeper is told, sealed in a memfd. */
struct plan {
    uint32_t uid, v1;
    char folder[256], directory[256], program[256], argument[32]; /* the last may be empty */
    char padding[2048]; /* a real plan carries words, environment and filters: about 3 KiB in all */
};

/* What the keeper says, in a memfd of one page. */
struct record {
    uint64_t state, wait_status, pidfd, ended_ns;
};

/* One job's groups. */
struct job_group {
    char name[32];
    int v2, v1[V1_MOST];
};

void die(const char *what) __attribute__((noreturn));
int must(long result, const char *what);

/* Groups: groups.c. */
void groups_open(void);
void groups_close(void);
int groups_v1(void);
int groups_keepers(void);
void group_make(struct job_group *group, unsigned number);
void group_open(struct job_group *group);
void group_limit(const struct job_group *group);
void group_facts(const struct job_group *group);
int group_procs(const struct job_group *group, int which);
void group_close(struct job_group *group);
int group_remove(const struct job_group *group);

/* Takes the descriptor numbers of a keeper, so that everything else lies above them: same.c. */
void reserve_slots(void);

/* Births: main.c. Answers 0 in the child. */
pid_t birth(int cgroup, uint64_t flags, int *pidfd);

/* Modes. The first two answer the seconds that the jobs took; the third holds them until its standard input ends. */
double run_plain(unsigned jobs, unsigned in_flight, const char *program);
double run_same(unsigned jobs, unsigned in_flight, const char *program, const char *folder);
void run_hold(unsigned jobs, const char *program, const char *argument, const char *folder);
int run_keeper(void);

#endif
