/* Accepts one connection on descriptor 3, sends back in capitals what it receives, and ends when the peer does. */
#include <ctype.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void) {
  int fd = accept(3, NULL, NULL);
  if (fd < 0) {
    perror("accept");
    return 1;
  }
  char data[256];
  for (ssize_t size; (size = recv(fd, data, sizeof data, 0)) > 0;) {
    for (ssize_t i = 0; i < size; i++) data[i] = toupper(data[i]);
    if (send(fd, data, size, 0) != size) return 2;
  }
  close(fd);
  puts("done");
  return 0;
}
