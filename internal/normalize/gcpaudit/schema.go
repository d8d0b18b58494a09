package gcpaudit

import (
	"encoding/json"

	"github.com/clew-sec/clew/internal/normalize"
)

// entry is the part of a Cloud Logging LogEntry that is read
// (cloud.google.com: LogEntry, google.cloud.audit.AuditLog).
type entry struct {
	Payload   *auditLog `json:"protoPayload"`
	InsertID  string    `json:"insertId"`
	LogName   string    `json:"logName"`
	Timestamp string    `json:"timestamp"`
	Resource  struct {
		Type   string `json:"type"`
		Labels struct {
			Project  string `json:"project_id"`
			Location string `json:"location"`
			Zone     string `json:"zone"`
			Region   string `json:"region"`
			Cluster  string `json:"cluster_name"`
			Email    string `json:"email_id"`
		} `json:"labels"`
	} `json:"resource"`
	Labels    map[string]string `json:"labels"`
	Operation struct {
		ID    string         `json:"id"`
		First normalize.Text `json:"first"`
		Last  normalize.Text `json:"last"`
	} `json:"operation"`
}

type auditLog struct {
	Type     string `json:"@type"`
	Service  string `json:"serviceName"`
	Method   string `json:"methodName"`
	Resource string `json:"resourceName"`
	Location struct {
		Current []string `json:"currentLocations"`
	} `json:"resourceLocation"`
	Status struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"status"`
	Auth     authentication `json:"authenticationInfo"`
	Granted  []permission   `json:"authorizationInfo"`
	Metadata struct {
		CallerIP string `json:"callerIp"`
		Agent    string `json:"callerSuppliedUserAgent"`
	} `json:"requestMetadata"`
	Request     json.RawMessage `json:"request"`
	Response    json.RawMessage `json:"response"`
	Details     json.RawMessage `json:"metadata"`
	ServiceData json.RawMessage `json:"serviceData"`
}

type authentication struct {
	Email      string     `json:"principalEmail"`
	Subject    string     `json:"principalSubject"`
	Selector   string     `json:"authoritySelector"`
	KeyName    string     `json:"serviceAccountKeyName"`
	Delegation []delegate `json:"serviceAccountDelegationInfo"`
}

type delegate struct {
	Subject    string `json:"principalSubject"`
	FirstParty struct {
		Email string `json:"principalEmail"`
	} `json:"firstPartyPrincipal"`
}

type permission struct {
	Resource   string         `json:"resource"`
	Permission string         `json:"permission"`
	Type       string         `json:"permissionType"`
	Granted    normalize.Text `json:"granted"`
}

// policyChange is the part of serviceData and metadata that tells what
// SetIamPolicy changed.
type policyChange struct {
	Delta struct {
		Bindings []struct {
			Action string `json:"action"`
			Role   string `json:"role"`
			Member string `json:"member"`
		} `json:"bindingDeltas"`
	} `json:"policyDelta"`
}

// named reads the members of requests and responses that identities are
// followed by, and of a Kubernetes Status.
type named struct {
	Name     normalize.Text `json:"name"`
	Kind     string         `json:"kind"`
	Type     string         `json:"@type"`
	Code     int            `json:"code"`
	Message  string         `json:"message"`
	Metadata struct {
		Name string `json:"name"`
		UID  string `json:"uid"`
	} `json:"metadata"`
}
