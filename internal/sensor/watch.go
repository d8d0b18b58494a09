package sensor

import "encoding/binary"

// Watch says what is told of files with a prefix or a last component.
type Watch uint32

// What can be told; bpf/record.h has the same bits.
const (
	WatchRead   Watch = 1 << iota // opens for reading; opens of devices
	WatchWrite                    // opens for writing; made executable or set-uid
	WatchName                     // unlink, rename, link, truncate
	WatchIgnore                   // nothing, and no connect to a unix socket there
)

const (
	watchFile = WatchRead | WatchWrite | WatchName
	watchPath = WatchWrite | WatchName // changes, where reads are usual
)

// Paths are the files that are told about. The kernel decides by the longest
// prefix of a path as its process's mount namespace has it (at most 123 bytes);
// Tails add to that by the last or the last two components (at most 63 bytes).
type Paths struct {
	Prefixes map[string]Watch
	Tails    map[string]Watch
}

// DefaultPaths are credentials, what starts by itself, logs, and the ways out of
// a container. Opens for writing are told of every regular file: what is
// executed later may have been written anywhere.
func DefaultPaths() Paths {
	return Paths{
		Prefixes: map[string]Watch{
			"/":      WatchWrite,
			"/dev/":  WatchIgnore,
			"/proc/": WatchWrite,
			"/sys/":  WatchWrite,

			// service account tokens, kubeconfigs, kubelet and container runtime
			"/var/run/secrets/": watchFile, "/run/secrets/": watchFile, "/etc/kubernetes/": watchFile,
			"/var/lib/kubelet/pods/": watchFile, "/var/lib/kubelet/pki/": watchFile, "/var/lib/kubelet/kubeconfig": watchFile, "/var/lib/kubelet/config": watchFile,
			"/var/lib/etcd/": watchFile, "/var/lib/rancher/": watchPath,
			// accounts and keys
			"/etc/shadow": watchFile, "/etc/gshadow": watchFile, "/etc/sudoers": watchFile, "/etc/ssh/": watchFile,
			"/etc/passwd": watchPath, "/etc/group": watchPath, "/etc/pam.d/": watchPath, "/etc/ld.so.preload": watchPath,
			"/root/.ssh/": watchFile, "/root/.aws/": watchFile, "/root/.azure/": watchFile, "/root/.config/gcloud/": watchFile, "/root/.kube/": watchFile, "/root/.docker/": watchFile,
			"/var/lib/waagent/": watchFile,
			// what starts by itself
			"/etc/cron": watchPath, "/var/spool/cron/": watchPath, "/etc/systemd/": watchPath, "/usr/lib/systemd/": watchPath, "/etc/init.d/": watchPath, "/etc/rc": watchPath, "/etc/profile": watchPath,
			// logs
			"/var/log/": watchPath, "/var/lib/docker/containers/": watchPath,
			// programs
			"/bin/": watchPath, "/sbin/": watchPath, "/usr/bin/": watchPath, "/usr/sbin/": watchPath, "/usr/local/bin/": watchPath, "/opt/cni/": watchPath, "/etc/cni/": watchPath,
			// ways out of a container, disks and memory
			"/proc/sys/kernel/core_pattern": watchFile, "/proc/sysrq-trigger": watchFile, "/proc/kcore": watchFile, "/sys/kernel/uevent_helper": watchFile, "/proc/sys/fs/binfmt_misc/": watchFile,
			"/dev/sd": WatchRead, "/dev/nvme": WatchRead, "/dev/vd": WatchRead, "/dev/xvd": WatchRead, "/dev/dm-": WatchRead, "/dev/mem": WatchRead, "/dev/kmem": WatchRead, "/dev/shm/": WatchWrite,
		},
		Tails: map[string]Watch{
			"release_agent": watchFile, "environ": WatchRead, "id_rsa": watchFile, "id_ed25519": watchFile, "id_ecdsa": watchFile, "authorized_keys": watchFile,
			".kube/config": watchFile, ".aws/credentials": watchFile, ".docker/config.json": watchFile, "gcloud/credentials.db": watchFile, ".azure/accessTokens.json": watchFile,
			".bash_history": WatchRead | WatchName, ".netrc": watchFile, ".git-credentials": watchFile, ".pgpass": watchFile, ".vault-token": watchFile,
			"serviceaccount/token": watchFile, "..data/token": watchFile, "eks.amazonaws.com/token": watchFile, "tokens/azure-identity-token": watchFile,
		},
	}
}

const (
	prefixMax = 124
	tailMax   = 64
)

// prefixKey is struct watch_key of bpf/core.h; a path too long is cut, which watches more.
func prefixKey(p string) (key [4 + prefixMax]byte) {
	n := copy(key[4:], p)
	binary.LittleEndian.PutUint32(key[:], uint32(n*8))
	return key
}

func tailKey(t string) (key [tailMax]byte) {
	copy(key[:tailMax-1], t)
	return key
}
