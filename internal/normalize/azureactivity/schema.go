package azureactivity

import (
	"encoding/json"

	"github.com/clew-sec/clew/internal/normalize"
)

// record is the part of an Azure Monitor record that is read. The names match
// without regard to case, so that rows exported from Log Analytics tables
// (CallerIpAddress, CorrelationId, …) fill the same members as records of the
// activity log API and of diagnostic settings.
type record struct {
	Time          string          `json:"time"`
	EventTime     string          `json:"eventTimestamp"`
	Generated     string          `json:"TimeGenerated"`
	Operation     normalize.Text  `json:"operationName"`
	OperationRow  string          `json:"OperationNameValue"`
	Category      normalize.Text  `json:"category"`
	CategoryRow   string          `json:"CategoryValue"`
	ResultType    normalize.Text  `json:"resultType"`
	ResultSign    normalize.Text  `json:"resultSignature"`
	ResultText    normalize.Text  `json:"resultDescription"`
	Status        normalize.Text  `json:"status"`
	StatusRow     string          `json:"ActivityStatusValue"`
	SubStatus     normalize.Text  `json:"subStatus"`
	SubStatusRow  string          `json:"ActivitySubstatusValue"`
	Caller        normalize.Text  `json:"caller"`
	CallerIP      normalize.Text  `json:"callerIpAddress"`
	Claims        json.RawMessage `json:"claims"`
	Identity      json.RawMessage `json:"identity"`
	Authorization json.RawMessage `json:"authorization"`
	HTTPRequest   json.RawMessage `json:"httpRequest"`
	ResourceID    string          `json:"resourceId"`
	ResourceIDRow string          `json:"_ResourceId"`
	Subscription  string          `json:"subscriptionId"`
	Tenant        string          `json:"tenantId"`
	Correlation   string          `json:"correlationId"`
	OperationID   string          `json:"operationId"`
	EventDataID   string          `json:"eventDataId"`
	Location      normalize.Text  `json:"location"`
	Properties    json.RawMessage `json:"properties"`
	Table         string          `json:"Type"`
	LogText       json.RawMessage `json:"log_s"` // AzureDiagnostics row
}

// identity is what stands in a record's identity member.
type identityPart struct {
	Claims        json.RawMessage `json:"claims"`
	Claim         json.RawMessage `json:"claim"` // Key Vault
	Authorization json.RawMessage `json:"authorization"`
}

type authorization struct {
	Action   string `json:"action"`
	Scope    string `json:"scope"`
	Evidence struct {
		Role          string `json:"role"`
		PrincipalID   string `json:"principalId"`
		PrincipalType string `json:"principalType"`
	} `json:"evidence"`
}

type httpRequest struct {
	ClientIP string `json:"clientIpAddress"`
	Agent    string `json:"clientUserAgent"`
}

// signIn is an Entra sign-in, the properties of a diagnostic record or a row.
type signIn struct {
	ID              string          `json:"id"`
	Created         string          `json:"createdDateTime"`
	UPN             string          `json:"userPrincipalName"`
	UserID          string          `json:"userId"`
	PrincipalID     string          `json:"servicePrincipalId"`
	PrincipalName   string          `json:"servicePrincipalName"`
	KeyID           string          `json:"servicePrincipalCredentialKeyId"`
	Thumbprint      string          `json:"servicePrincipalCredentialThumbprint"`
	FederatedID     string          `json:"federatedCredentialId"`
	AppID           string          `json:"appId"`
	AppName         string          `json:"appDisplayName"`
	IP              string          `json:"ipAddress"`
	Agent           string          `json:"userAgent"`
	ResourceName    string          `json:"resourceDisplayName"`
	ResourceID      string          `json:"resourceServicePrincipalId"`
	TokenID         string          `json:"uniqueTokenIdentifier"`
	Requirement     string          `json:"authenticationRequirement"`
	Client          string          `json:"clientAppUsed"`
	Tenant          string          `json:"resourceTenantId"`
	Location        json.RawMessage `json:"location"`
	Status          json.RawMessage `json:"status"`
	ManagedIdentity json.RawMessage `json:"managedServiceIdentity"`
	ManagedRow      json.RawMessage `json:"managedIdentity"`
}

type managedIdentity struct {
	Resource string `json:"associatedResourceId"`
	Type     string `json:"msiType"`
	TokenID  string `json:"federatedTokenId"`
	Issuer   string `json:"federatedTokenIssuer"`
}

type signInStatus struct {
	Code   normalize.Text `json:"errorCode"`
	Reason string         `json:"failureReason"`
}

// auditRow is a row of the tables AKSAudit and AKSAuditAdmin: an audit event
// with its members as columns.
type auditRow struct {
	Level       string          `json:"Level"`
	AuditID     string          `json:"AuditId"`
	Stage       string          `json:"Stage"`
	URI         string          `json:"RequestUri"`
	Verb        string          `json:"Verb"`
	User        json.RawMessage `json:"User"`
	As          json.RawMessage `json:"ImpersonatedUser"`
	SourceIPs   json.RawMessage `json:"SourceIps"`
	Agent       string          `json:"UserAgent"`
	Object      json.RawMessage `json:"ObjectRef"`
	Status      json.RawMessage `json:"ResponseStatus"`
	Request     json.RawMessage `json:"RequestObject"`
	Response    json.RawMessage `json:"ResponseObject"`
	Received    string          `json:"RequestReceivedTime"`
	StageTime   string          `json:"StageReceivedTime"`
	Annotations json.RawMessage `json:"Annotations"`
}

// auditEvent is the audit event that such a row was made of.
type auditEvent struct {
	Kind        string          `json:"kind"`
	APIVersion  string          `json:"apiVersion"`
	Level       string          `json:"level"`
	AuditID     string          `json:"auditID"`
	Stage       string          `json:"stage"`
	URI         string          `json:"requestURI"`
	Verb        string          `json:"verb"`
	User        json.RawMessage `json:"user,omitempty"`
	As          json.RawMessage `json:"impersonatedUser,omitempty"`
	SourceIPs   json.RawMessage `json:"sourceIPs,omitempty"`
	Agent       string          `json:"userAgent,omitempty"`
	Object      json.RawMessage `json:"objectRef,omitempty"`
	Status      json.RawMessage `json:"responseStatus,omitempty"`
	Request     json.RawMessage `json:"requestObject,omitempty"`
	Response    json.RawMessage `json:"responseObject,omitempty"`
	Received    string          `json:"requestReceivedTimestamp"`
	StageTime   string          `json:"stageTimestamp"`
	Annotations json.RawMessage `json:"annotations,omitempty"`
}
