/* Carries out file operations that it reads from stdin, one a line with fields separated by tabs, and prints what came of
 * each: 0 or the errno, and what was read. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char line[4096], *field[8];

static void outcome(int result) { printf("%d\n", result < 0 ? errno : 0); }

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void list(const char *path) {
  DIR *dir = opendir(path);
  if (dir == NULL) {
    outcome(-1);
    return;
  }
  char *names[256];
  int count = 0;
  for (struct dirent *entry; count < 256 && (entry = readdir(dir)) != NULL;) {
    names[count] = malloc(strlen(entry->d_name) + 8);
    sprintf(names[count++], "%s/%d", entry->d_name, entry->d_type);
  }
  closedir(dir);
  qsort(names, count, sizeof *names, by_name);
  for (int i = 0; i < count; i++) printf("%s ", names[i]);
  puts("");
}

static void show(int result, const struct stat *found) {
  if (result < 0)
    outcome(result);
  else
    printf("%o size %d links %d\n", found->st_mode & S_IFMT, S_ISREG(found->st_mode) ? (int)found->st_size : 0,
           S_ISDIR(found->st_mode) ? 0 : (int)found->st_nlink);
}

static void with_file(const char *path, int flags, char what) {
  int fd = open(path, flags, 0666);
  if (fd < 0) {
    outcome(fd);
    return;
  }
  char data[4096];
  if (what == 'r') {
    int size = read(fd, data, sizeof data);
    printf("%d %.*s\n", size < 0 ? errno : 0, size < 0 ? 0 : size, data);
  } else if (what == 'w') {
    outcome(write(fd, field[2], strlen(field[2])));
  } else if (what == 'p') {
    outcome(pwrite(fd, field[3], strlen(field[3]), atoll(field[2])));
  } else if (what == 'g') {
    int size = pread(fd, data, 16, atoll(field[2]));
    printf("%d %d\n", size < 0 ? errno : 0, size);
  } else if (what == 'T') {
    outcome(ftruncate(fd, atoll(field[2])));
  } else if (what == 'S') {
    long long at = lseek(fd, atoll(field[2]), atoi(field[3]));
    printf("%lld\n", at < 0 ? (long long)-errno : at);
  } else {
    printf("opened\n");
  }
  close(fd);
}

int main(void) {
  while (fgets(line, sizeof line, stdin) != NULL) {
    line[strcspn(line, "\n")] = 0;
    int count = 0;
    for (char *at = line; count < 8 && at != NULL; count++) {
      field[count] = at;
      if ((at = strchr(at, '\t')) != NULL) *at++ = 0;
    }
    for (; count < 8; count++) field[count] = "";
    struct stat found;
    char target[256];
    printf("%s ", field[0]);
    switch (field[0][0]) {
      case 'w': with_file(field[1], O_WRONLY | O_CREAT | O_TRUNC, 'w'); break;
      case 'a': with_file(field[1], O_WRONLY | O_CREAT | O_APPEND, 'w'); break;
      case 'r': with_file(field[1], O_RDONLY, 'r'); break;
      case 'R': with_file(field[1], O_RDONLY, 'w'); break;
      case 'W': with_file(field[1], O_WRONLY, 'r'); break;
      case 'e': with_file(field[1], O_WRONLY | O_CREAT | O_EXCL, 'o'); break;
      case 'o': with_file(field[1], O_RDONLY | O_DIRECTORY, 'o'); break;
      case 'f': with_file(field[1], O_RDONLY | O_NOFOLLOW, 'o'); break;
      case 'p': with_file(field[1], O_RDWR, 'p'); break;
      case 'g': with_file(field[1], O_RDONLY, 'g'); break;
      case 'T': with_file(field[1], O_RDWR, 'T'); break;
      case 'S': with_file(field[1], O_RDWR, 'S'); break;
      case 'm': outcome(mkdir(field[1], 0777)); break;
      case 'd': outcome(rmdir(field[1])); break;
      case 'u': outcome(unlink(field[1])); break;
      case 'n': outcome(rename(field[1], field[2])); break;
      case 'l': outcome(link(field[1], field[2])); break;
      case 's': outcome(symlink(field[1], field[2])); break;
      case 't': show(stat(field[1], &found), &found); break;
      case 'L': show(lstat(field[1], &found), &found); break;
      case 'D': list(field[1]); break;
      case 'k': {
        int size = readlink(field[1], target, sizeof target);
        printf("%d %.*s\n", size < 0 ? errno : 0, size < 0 ? 0 : size, target);
        break;
      }
      case 'x': puts(""); fflush(stdout); exit(atoi(field[1]));
      default: puts("?");
    }
  }
  return 0;
}
