package cluster

import (
	"context"
	"net"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// kubectl is what kubectl calls itself.
const kubectl = "kubectl/" + kubernetesRelease + " (linux/amd64) kubernetes/3b1c0f2"

// Credential is what proves to the API server who somebody is.
type Credential struct {
	rest.TLSClientConfig
	token string
}

// Person issues the client certificate of a user in groups.
func (c *Cluster) Person(user string, groups ...string) (Credential, error) {
	p, err := c.authority.client(user, groups...)
	return c.certificate(p), err
}

func (c *Cluster) certificate(p pair) Credential {
	return Credential{TLSClientConfig: rest.TLSClientConfig{CAData: c.authority.crt, CertData: p.crt, KeyData: p.key}}
}

// Bearer is a token as a credential.
func (c *Cluster) Bearer(token string) Credential {
	return Credential{TLSClientConfig: rest.TLSClientConfig{CAData: c.authority.crt}, token: token}
}

// Config uses the credential from one of the addresses of this machine, with a
// program that calls itself agent.
func (cr Credential) Config(address, agent string) *rest.Config {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}, Timeout: 5 * time.Second}
	return &rest.Config{
		Host: server, TLSClientConfig: cr.TLSClientConfig, BearerToken: cr.token, UserAgent: agent, QPS: -1, Timeout: time.Minute,
		Dial: func(ctx context.Context, network, to string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, to)
		},
	}
}

// From is a client of Config.
func (cr Credential) From(address, agent string) (kubernetes.Interface, error) {
	return kubernetes.NewForConfig(cr.Config(address, agent))
}

// Admin is the client of the one who set the cluster up, on the control plane's own
// machine.
func (c *Cluster) Admin() (kubernetes.Interface, error) {
	cr, err := c.Person("kubernetes-admin", "system:masters")
	if err != nil {
		return nil, err
	}
	return cr.From(controlPlane, kubectl)
}

// metrics returns those of the API server.
func (c *Cluster) metrics(ctx context.Context) (string, error) {
	admin, err := c.Admin()
	if err != nil {
		return "", err
	}
	text, err := admin.CoreV1().RESTClient().Get().AbsPath("/metrics").Do(ctx).Raw()
	return string(text), err
}
