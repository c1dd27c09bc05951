/*
 * Preloaded into the reference where the kernel has no IPVS: its requests of that table succeed and do nothing, so that its checkers run
 * and can be measured. Built by bench/checks.sh.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/ip_vs.h>

static int ours(int level, int name)
{
	return level == IPPROTO_IP && name >= IP_VS_BASE_CTL && name <= IP_VS_SO_SET_MAX;
}

int getsockopt(int fd, int level, int name, void *value, unsigned *len)
{
	if (!ours(level, name))
		return syscall(SYS_getsockopt, fd, level, name, value, len);
	memset(value, 0, *len);
	if (name == IP_VS_SO_GET_INFO) {
		struct ip_vs_getinfo info = { .version = 0x010201, .size = 4096 };
		memcpy(value, &info, *len < sizeof info ? *len : sizeof info);
	}
	return 0;
}

int setsockopt(int fd, int level, int name, const void *value, unsigned len)
{
	return ours(level, name) ? 0 : syscall(SYS_setsockopt, fd, level, name, value, len);
}
