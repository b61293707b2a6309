/* cgroups of this host as Airlock uses them: a v2 tree for birth, kill and events; limits there or, on a hybrid host, in v1. */
#define _GNU_SOURCE
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct limit {
    const char *controller, *file, *value;
};

static const struct limit V2_LIMITS[] = {
    {"cpu", "cpu.max", "200000 100000"}, {"cpu", "cpu.weight", "100"}, {"memory", "memory.max", "1073741824"},
    {"memory", "memory.swap.max", "0"}, {"memory", "memory.oom.group", "1"}, {"pids", "pids.max", "512"},
};
static const struct limit V1_LIMITS[] = {
    {"cpu", "cpu.cfs_period_us", "100000"}, {"cpu", "cpu.cfs_quota_us", "200000"}, {"cpu", "cpu.shares", "1024"},
    {"memory", "memory.limit_in_bytes", "1073741824"}, {"memory", "memory.memsw.limit_in_bytes", "1073741824"},
    {"pids", "pids.max", "512"},
};
static const char *const V2_FACTS[] = {"memory.events", "memory.peak", "pids.peak", "cpu.stat", "io.stat"};
static const struct { const char *controller, *file; } V1_FACTS[] = {
    {"memory", "memory.oom_control"}, {"memory", "memory.max_usage_in_bytes"}, {"pids", "pids.peak"},
    {"cpu", "cpu.stat"}, {"blkio", "blkio.throttle.io_service_bytes"},
};

static char base[300], v1_base[V1_MOST][300];
static const char *v1_names[V1_MOST];
static int v1_count, jobs_v2, jobs_v1[V1_MOST], keepers;

static int directory(const char *path)
{
    return must(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), path);
}

static void make(const char *path)
{
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        die(path);
}

/* The mount point of a cgroup file system: of version 2 for a null controller. */
static int mount_point(const char *controller, char *to, size_t size)
{
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    char line[4096], point[256], kind[64], options[256];
    int found = 0;
    if (!mounts)
        die("/proc/self/mountinfo");
    while (!found && fgets(line, sizeof line, mounts)) {
        char *right = strstr(line, " - ");
        if (!right || sscanf(line, "%*s %*s %*s %*s %255s", point) != 1 ||
            sscanf(right, " - %63s %*s %255s", kind, options) != 2)
            continue;
        if (!controller)
            found = strcmp(kind, "cgroup2") == 0;
        else if (strcmp(kind, "cgroup") == 0)
            for (char *word = strtok(options, ","); word; word = strtok(NULL, ","))
                found |= strcmp(word, controller) == 0;
    }
    fclose(mounts);
    if (found)
        snprintf(to, size, "%s/airlock-bench-%d", point, (int)getpid());
    return found;
}

static void write_file(int group, const char *file, const char *value)
{
    int fd = must(openat(group, file, O_WRONLY | O_CLOEXEC), file);
    must(write(fd, value, strlen(value)), file);
    close(fd);
}

static size_t read_file(int group, const char *file, char *to, size_t size)
{
    int fd = must(openat(group, file, O_RDONLY | O_CLOEXEC), file);
    ssize_t length, all = 0;
    while ((length = must(read(fd, to + all, size - 1 - (size_t)all), file)) > 0)
        all += length;
    to[all] = 0;
    close(fd);
    return (size_t)all;
}

static int in_v2(const char *controller)
{
    char text[512], *rest = text;
    int fd = directory(base);
    read_file(fd, "cgroup.controllers", text, sizeof text);
    close(fd);
    for (char *word; (word = strsep(&rest, " \n"));)
        if (strcmp(word, controller) == 0)
            return 1;
    return 0;
}

void groups_open(void)
{
    static const char *const controllers[][2] = {{"cpu", "cpu"}, {"memory", "memory"}, {"pids", "pids"}, {"io", "blkio"}};
    char path[400];
    if (!mount_point(NULL, base, sizeof base)) {
        errno = ENOENT;
        die("a cgroup2 mount");
    }
    make(base);
    snprintf(path, sizeof path, "%s/keepers", base);
    make(path);
    keepers = directory(path);
    snprintf(path, sizeof path, "%s/jobs", base);
    make(path);
    jobs_v2 = directory(path);
    for (size_t i = 0; i < 4; i++) {
        char enable[32];
        if (in_v2(controllers[i][0])) {
            int fd = directory(base);
            snprintf(enable, sizeof enable, "+%s", controllers[i][0]);
            write_file(fd, "cgroup.subtree_control", enable);
            write_file(jobs_v2, "cgroup.subtree_control", enable);
            close(fd);
        } else if (mount_point(controllers[i][1], v1_base[v1_count], sizeof v1_base[0])) {
            make(v1_base[v1_count]);
            jobs_v1[v1_count] = directory(v1_base[v1_count]);
            v1_names[v1_count++] = controllers[i][1];
        }
    }
}

void groups_close(void)
{
    char path[400];
    for (const char *const *leaf = (const char *const[]){"/keepers", "/jobs", "", NULL}; *leaf; leaf++) {
        snprintf(path, sizeof path, "%s%s", base, *leaf);
        must(rmdir(path), path);
    }
    for (int i = 0; i < v1_count; i++)
        must(rmdir(v1_base[i]), v1_base[i]);
}

int groups_v1(void) { return v1_count; }

int groups_keepers(void) { return keepers; }

void group_open(struct job_group *group)
{
    group->v2 = must(openat(jobs_v2, group->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC), "group");
    for (int i = 0; i < v1_count; i++)
        group->v1[i] = must(openat(jobs_v1[i], group->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC), "group");
}

void group_make(struct job_group *group, unsigned number)
{
    snprintf(group->name, sizeof group->name, "job-%u", number);
    must(mkdirat(jobs_v2, group->name, 0755), "mkdir of a group");
    for (int i = 0; i < v1_count; i++)
        must(mkdirat(jobs_v1[i], group->name, 0755), "mkdir of a group");
    group_open(group);
}

static int place(const struct job_group *group, const char *controller)
{
    for (int i = 0; i < v1_count; i++)
        if (strcmp(v1_names[i], controller) == 0)
            return group->v1[i];
    return -1;
}

static void hold(int at, const struct limit *limit)
{
    char text[256];
    int fd = openat(at, limit->file, O_WRONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return; /* a kernel without swap accounting */
    must(fd, limit->file);
    must(write(fd, limit->value, strlen(limit->value)), limit->file);
    close(fd);
    read_file(at, limit->file, text, sizeof text);
    if (strncmp(text, limit->value, strlen(limit->value)) != 0) {
        errno = EINVAL;
        die(limit->file);
    }
}

void group_limit(const struct job_group *group)
{
    for (size_t i = 0; i < sizeof V1_LIMITS / sizeof *V1_LIMITS; i++) {
        int at = place(group, V1_LIMITS[i].controller);
        if (at >= 0)
            hold(at, &V1_LIMITS[i]);
    }
    for (size_t i = 0; i < sizeof V2_LIMITS / sizeof *V2_LIMITS; i++)
        if (place(group, V2_LIMITS[i].controller) < 0)
            hold(group->v2, &V2_LIMITS[i]);
}

void group_facts(const struct job_group *group)
{
    char text[4096];
    for (size_t i = 0; i < sizeof V1_FACTS / sizeof *V1_FACTS; i++) {
        int at = place(group, V1_FACTS[i].controller);
        if (at >= 0)
            read_file(at, V1_FACTS[i].file, text, sizeof text);
        else if (faccessat(group->v2, V2_FACTS[i], R_OK, 0) == 0)
            read_file(group->v2, V2_FACTS[i], text, sizeof text);
    }
    read_file(group->v2, "cpu.stat", text, sizeof text);
}

/* "0" written there moves the thread that writes, which unlike a whole process waits for no grace period of the kernel. */
int group_procs(const struct job_group *group, int which)
{
    return must(openat(group->v1[which], "tasks", O_WRONLY | O_CLOEXEC), "tasks");
}

void group_close(struct job_group *group)
{
    close(group->v2);
    for (int i = 0; i < v1_count; i++)
        close(group->v1[i]);
}

/* Answers 0 while something still lives in it. */
int group_remove(const struct job_group *group)
{
    for (int i = 0; i < v1_count; i++)
        if (unlinkat(jobs_v1[i], group->name, AT_REMOVEDIR) < 0 && errno != ENOENT) {
            if (errno == EBUSY)
                return 0;
            die("rmdir of a group");
        }
    if (unlinkat(jobs_v2, group->name, AT_REMOVEDIR) < 0) {
        if (errno == EBUSY)
            return 0;
        die("rmdir of a group");
    }
    return 1;
}
