package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// kubernetesRelease is the version that go.mod requires; what runs says that it is it.
const kubernetesRelease = "v1.36.3"

// The environment in which [Build] leaves where the programs are.
const (
	kubeVar = "CLEW_CLUSTER_KUBE"
	clewVar = "CLEW_CLUSTER_CLEW"
)

// components are the names under which the one program of Kubernetes is started.
var components = [...]string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}

// Build makes the programs, Kubernetes only when the cache of the user has none of
// this version: that takes 700 seconds of one core the first time. The working
// directory must be in this module.
func Build(ctx context.Context) error {
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	kube, err := buildKubernetes(ctx, root)
	if err != nil {
		return err
	}
	clew := os.Getenv(clewVar)
	if clew == "" {
		clew = filepath.Join(kube, "clew")
		repository := filepath.Join(root, "..", "..")
		if err := goBuild(ctx, repository, clew, "", "./cmd/clew"); err != nil {
			return fmt.Errorf("building clew: %w", err)
		}
	}
	return errors.Join(os.Setenv(kubeVar, kube), os.Setenv(clewVar, clew))
}

// buildKubernetes returns the folder with the components.
func buildKubernetes(ctx context.Context, root string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "clew", "kubernetes-"+kubernetesRelease)
	program := filepath.Join(dir, "kube")
	if _, err := os.Stat(program); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", err
	}
	fmt.Fprintln(os.Stderr, "building Kubernetes", kubernetesRelease, "once; this takes minutes")
	if err := goBuild(ctx, root, program+".new", kubeFlags(), "./kube"); err != nil {
		return "", fmt.Errorf("building Kubernetes: %w", err)
	}
	for _, name := range components {
		if err := os.Symlink("kube", filepath.Join(dir, name)); err != nil && !os.IsExist(err) {
			return "", err
		}
	}
	return dir, os.Rename(program+".new", program)
}

// kubeFlags has the linker write the version where Kubernetes looks for it.
func kubeFlags() string {
	parts := strings.Split(strings.TrimPrefix(kubernetesRelease, "v"), ".")
	flags := []string{"-s", "-w"}
	for name, value := range map[string]string{
		"k8s.io/component-base/version.gitVersion": kubernetesRelease, "k8s.io/client-go/pkg/version.gitVersion": kubernetesRelease,
		"k8s.io/component-base/version.gitMajor": parts[0], "k8s.io/component-base/version.gitMinor": parts[1],
	} {
		flags = append(flags, "-X", name+"="+value)
	}
	return strings.Join(flags, " ")
}

func goBuild(ctx context.Context, dir, out, ldflags, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-p", "2", "-trimpath", "-ldflags", ldflags, "-o", out, pkg) //nolint:gosec // constants
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}

func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("finding the module: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}
