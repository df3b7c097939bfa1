#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <errno.h>
#include <fcntl.h>
int main(int c,char**v){
  for(int i=0;i<c;i++) printf("arg %s\n", v[i]);
  printf("env %s\n", getenv("NAME")?getenv("NAME"):"none");
  char line[100]; while(fgets(line,100,stdin)) printf("in %s", line);
  FILE*f=fopen("/data/a.txt","w"); if(!f){perror("fopen");return 9;} fprintf(f,"hello %d\n",42); fclose(f);
  f=fopen("/data/a.txt","a"); fputs("more\n",f); fclose(f);
  f=fopen("/data/a.txt","r"); while(fgets(line,100,f)) printf("file %s", line); fclose(f);
  mkdir("/data/sub",0777); rename("/data/a.txt","/data/sub/b.txt"); symlink("b.txt","/data/sub/link");
  DIR*d=opendir("/data/sub"); struct dirent*e; while((e=readdir(d))) printf("entry %s %d\n", e->d_name, e->d_type); closedir(d);
  struct stat s; printf("stat %d", stat("/data/sub/link",&s)); printf(" %d\n",(int)s.st_size);
  printf("open out %d", open("/data/../x",O_RDONLY)); printf(" %s\n", strerror(errno));
  printf("open out %d", open("/etc/passwd",O_RDONLY)); printf(" %s\n", strerror(errno));
  printf("isatty %d\n", isatty(1));
  struct timespec t={0,2000000}; nanosleep(&t,0);
  time_t now=time(0); printf("%d\n", now>1600000000);
  fprintf(stderr,"to stderr\n");
  exit(7);
}
