package vrrp

import (
	"fmt"
	"syscall"
)

const sigterm = syscall.SIGTERM

func sprintfConf(prio int, extra string) string { return fmt.Sprintf(keepalivedConf, prio, extra) }
