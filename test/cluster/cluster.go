package cluster

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"k8s.io/client-go/tools/clientcmd"
)

//go:embed audit-policy.yaml
var auditPolicy []byte

const (
	server   = "https://" + controlPlane + ":6443"
	services = "10.96.0.0/16"
	// readyTime bounds a start; it takes 6 s on two cores.
	readyTime = 2 * time.Minute
)

// Webhook is where an API server posts its audit events.
type Webhook struct {
	URL   string
	CA    []byte // PEM
	Token string
	// Batch posts up to 400 events at once, within 100 ms, not each before its
	// request is answered.
	Batch bool
}

// Cluster is a control plane without nodes: etcd, API server, controller manager
// and scheduler. Only one runs at a time in a network namespace.
type Cluster struct {
	dir       string
	authority *authority
	processes []*process
}

// Start brings a control plane up in dir, which must be empty, and returns when its
// controllers work. Stop must be called.
func Start(ctx context.Context, dir string, hook Webhook) (*Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	c := &Cluster{dir: dir}
	for _, step := range []func(context.Context) error{
		func(context.Context) error { return c.writeFiles(hook) }, c.startServer(hook), c.startControllers,
	} {
		if err := step(ctx); err != nil {
			c.Stop()
			return nil, fmt.Errorf("starting the cluster: %w", err)
		}
	}
	return c, nil
}

// Stop ends all processes, last started first, and waits for them.
func (c *Cluster) Stop() {
	for i := len(c.processes) - 1; i >= 0; i-- {
		c.processes[i].end()
	}
}

func (c *Cluster) path(name string) string { return filepath.Join(c.dir, name) }

// writeFiles writes all that the programs read: certificates, keys, configurations.
func (c *Cluster) writeFiles(hook Webhook) error {
	root, err := newAuthority("cluster")
	if err != nil {
		return err
	}
	front, err := newAuthority("front-proxy")
	if err != nil {
		return err
	}
	c.authority = root
	own, err := root.server("kube-apiserver", controlPlane, "10.96.0.1", "127.0.0.1", "localhost", "kubernetes.default.svc")
	proxy, err2 := front.client("front-proxy-client")
	manager, err3 := root.client("system:kube-controller-manager")
	scheduler, err4 := root.client("system:kube-scheduler")
	if err := errors.Join(err, err2, err3, err4); err != nil {
		return err
	}
	return errors.Join(
		root.write(c.dir, "ca"), front.write(c.dir, "front-proxy-ca"), own.write(c.dir, "apiserver"), proxy.write(c.dir, "front-proxy"),
		writeSigningKey(c.dir), os.WriteFile(c.path("audit-policy.yaml"), auditPolicy, 0o600),
		c.kubeconfig("controllers", server, root.crt, &clientcmdapi.AuthInfo{ClientCertificateData: manager.crt, ClientKeyData: manager.key}),
		c.kubeconfig("scheduler", server, root.crt, &clientcmdapi.AuthInfo{ClientCertificateData: scheduler.crt, ClientKeyData: scheduler.key}),
		c.kubeconfig("audit-webhook", hook.URL, hook.CA, &clientcmdapi.AuthInfo{Token: hook.Token}))
}

func (c *Cluster) kubeconfig(name, url string, ca []byte, who *clientcmdapi.AuthInfo) error {
	k := clientcmdapi.NewConfig()
	k.Clusters["it"] = &clientcmdapi.Cluster{Server: url, CertificateAuthorityData: ca}
	k.AuthInfos["me"] = who
	k.Contexts["it"] = &clientcmdapi.Context{Cluster: "it", AuthInfo: "me"}
	k.CurrentContext = "it"
	return clientcmd.WriteToFile(*k, c.path(name+".kubeconfig"))
}

func (c *Cluster) start(component string, args ...string) (*process, error) {
	// Not bound to the context of Start: it runs until Stop.
	p, err := start(context.Background(), c.dir, component, filepath.Join(os.Getenv(kubeVar), component), nil, args...)
	if err == nil {
		c.processes = append(c.processes, p)
	}
	return p, err
}

func (c *Cluster) startServer(hook Webhook) func(context.Context) error {
	return func(ctx context.Context) error {
		const peers = "http://127.0.0.1:2380"
		if _, err := c.start("etcd", "--data-dir", c.path("etcd"), "--unsafe-no-fsync", "--log-level", "warn",
			"--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379",
			"--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", "default="+peers); err != nil {
			return err
		}
		p, err := c.start("kube-apiserver", c.serverFlags(hook)...)
		if err != nil {
			return err
		}
		admin, err := c.Admin()
		if err != nil {
			return err
		}
		return p.until(ctx, func(ctx context.Context) error {
			return admin.CoreV1().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
		})
	}
}

func (c *Cluster) serverFlags(hook Webhook) []string {
	flags := []string{
		"--etcd-servers=http://127.0.0.1:2379", "--advertise-address=" + controlPlane, "--secure-port=6443",
		"--endpoint-reconciler-type=none", "--service-cluster-ip-range=" + services,
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
		"--client-ca-file=" + c.path("ca.crt"), "--tls-cert-file=" + c.path("apiserver.crt"), "--tls-private-key-file=" + c.path("apiserver.key"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + c.path("sa.crt"), "--service-account-signing-key-file=" + c.path("sa.key"),
		"--requestheader-client-ca-file=" + c.path("front-proxy-ca.crt"), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + c.path("front-proxy.crt"), "--proxy-client-key-file=" + c.path("front-proxy.key"),
		"--audit-policy-file=" + c.path("audit-policy.yaml"), "--audit-webhook-config-file=" + c.path("audit-webhook.kubeconfig"),
	}
	if hook.Batch {
		return append(flags, "--audit-webhook-mode=batch", "--audit-webhook-batch-max-wait=100ms", "--audit-webhook-batch-throttle-enable=false")
	}
	return append(flags, "--audit-webhook-mode=blocking")
}

// startControllers waits until a controller has done something.
func (c *Cluster) startControllers(ctx context.Context) error {
	client := func(name string) []string {
		file := c.path(name + ".kubeconfig")
		return []string{
			"--kubeconfig=" + file, "--authentication-kubeconfig=" + file, "--authorization-kubeconfig=" + file,
			"--bind-address=127.0.0.1", "--leader-elect=false", "--kube-api-qps=2000", "--kube-api-burst=4000",
		}
	}
	manager, err := c.start("kube-controller-manager", append(client("controllers"),
		"--service-account-private-key-file="+c.path("sa.key"), "--root-ca-file="+c.path("ca.crt"),
		"--cluster-signing-cert-file="+c.path("ca.crt"), "--cluster-signing-key-file="+c.path("ca.key"),
		"--use-service-account-credentials=true", "--service-cluster-ip-range="+services)...)
	if err != nil {
		return err
	}
	if _, err := c.start("kube-scheduler", client("scheduler")...); err != nil {
		return err
	}
	admin, err := c.Admin()
	if err != nil {
		return err
	}
	return manager.until(ctx, func(ctx context.Context) error {
		_, err := admin.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}
