package event

import "strings"

// CloudCall is a call to a cloud provider's API.
type CloudCall struct {
	Provider  string // aws, gcp, azure
	Service   string // aws: eventSource without .amazonaws.com; gcp: serviceName; azure: resource provider, lower case
	Action    string // aws: eventName; gcp: methodName; azure: operationName as written (upper case folded to the documented case is not attempted)
	Region    string
	Account   string   // account, project or subscription the call acted on
	RequestID string   //
	Error     string   // errorCode, status code name or resultType; "" is success
	Message   string   // error message
	ReadOnly  bool     //
	Resources []string // ARNs, full resource names or ids acted on
	Params    []string // scalar leaves of the request as "path=value", lists as "path[]=value"; secrets redacted
	Results   []string // the same of the response

	// Identity chaining.
	IssuedKey       string   // access key id this call handed out (AssumeRole*, GetSessionToken, CreateAccessKey, ...)
	IssuedRole      string   // ARN of the role or identity the issued credential acts as
	IssuedSession   string   // role session name it will carry
	WebIdentity     string   // subject of the web identity: "system:serviceaccount:<ns>:<sa>"
	IdentityIssuer  string   // OIDC provider
	RoleDelivery    string   // sessionContext.ec2RoleDelivery: "1.0" or "2.0" = IMDS
	SessionCreated  int64    // sessionContext.attributes.creationDate, nanoseconds; 0 unknown
	InstanceID      string   // instance behind a node role session ("i-...")
	PodName         string   // EKS Pod Identity session tag or ARN
	PodUID          string   //
	PodNamespace    string   //
	PodSA           string   //
	Delegation      []string // GCP serviceAccountDelegationInfo principals, outermost first
	InvokedBy       string   // AWS service that made the call on the caller's behalf
	ViaVPCEndpoint  bool
	ManagementEvent bool
}

// reset empties c unless nothing was read into it: most logs hold no cloud calls,
// and memory nobody wrote to is not in the cache. Whoever writes into a
// CloudCall sets Provider (TestUnreadPartsAreEmpty in test/).
func (c *CloudCall) reset() {
	if c.Provider == "" {
		return
	}
	resources, params, results, delegation := emptied(c.Resources), emptied(c.Params), emptied(c.Results), emptied(c.Delegation)
	*c = CloudCall{}
	c.Resources, c.Params, c.Results, c.Delegation = resources, params, results, delegation
}

// Succeeded reports whether the provider did what was asked.
func (c *CloudCall) Succeeded() bool { return c.Error == "" }

// IssuedCredential returns the credential under which the key this call handed
// out will act, in the form of Actor.Credential; "" when it handed out none.
func (c *CloudCall) IssuedCredential() string {
	if c.IssuedKey == "" {
		return ""
	}
	prefix := "aws:"
	switch c.Provider {
	case "gcp":
		prefix = "gcpkey:"
	case "azure":
		prefix = "azure:"
	}
	return prefix + strings.TrimPrefix(c.IssuedKey, prefix)
}
