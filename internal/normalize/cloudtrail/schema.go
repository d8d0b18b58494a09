package cloudtrail

import (
	"encoding/json"

	"github.com/clew-sec/clew/internal/normalize"
)

// record is the part of a CloudTrail record that is read
// (docs.aws.amazon.com: CloudTrail record contents).
type record struct {
	EventTime        string          `json:"eventTime"`
	EventSource      string          `json:"eventSource"`
	EventName        string          `json:"eventName"`
	EventType        string          `json:"eventType"`
	EventID          string          `json:"eventID"`
	EventCategory    string          `json:"eventCategory"`
	RequestID        string          `json:"requestID"`
	Region           string          `json:"awsRegion"`
	SourceIP         string          `json:"sourceIPAddress"`
	Agent            string          `json:"userAgent"`
	ErrorCode        normalize.Text  `json:"errorCode"`
	ErrorMessage     normalize.Text  `json:"errorMessage"`
	Recipient        normalize.Text  `json:"recipientAccountId"`
	VPCEndpoint      string          `json:"vpcEndpointId"`
	ReadOnly         normalize.Text  `json:"readOnly"`
	Management       normalize.Text  `json:"managementEvent"`
	Identity         identity        `json:"userIdentity"`
	Request          json.RawMessage `json:"requestParameters"`
	Response         json.RawMessage `json:"responseElements"`
	Additional       json.RawMessage `json:"additionalEventData"`
	ServiceDetails   json.RawMessage `json:"serviceEventDetails"`
	Resources        []resource      `json:"resources"`
	InsightDetails   json.RawMessage `json:"insightDetails"`
	DigestObject     string          `json:"digestS3Object"`
	parsedRequest    request         // Request by the members that matter
	parsedResponse   response        // Response likewise
	parsedAdditional additional      // Additional likewise
}

type resource struct {
	ARN string `json:"ARN"`
}

type identity struct {
	Type         string  `json:"type"`
	PrincipalID  string  `json:"principalId"`
	ARN          string  `json:"arn"`
	Account      string  `json:"accountId"`
	AccessKey    string  `json:"accessKeyId"`
	UserName     string  `json:"userName"`
	InvokedBy    string  `json:"invokedBy"`
	Provider     string  `json:"identityProvider"`
	CredentialID string  `json:"credentialId"`
	Session      session `json:"sessionContext"`
	OnBehalfOf   struct {
		UserID string `json:"userId"`
	} `json:"onBehalfOf"`
}

type session struct {
	Issuer struct {
		Type        string `json:"type"`
		PrincipalID string `json:"principalId"`
		ARN         string `json:"arn"`
		Account     string `json:"accountId"`
	} `json:"sessionIssuer"`
	Attributes struct {
		Created string         `json:"creationDate"`
		MFA     normalize.Text `json:"mfaAuthenticated"`
	} `json:"attributes"`
	WebID struct {
		Provider string `json:"federatedProvider"`
	} `json:"webIdFederationData"`
	Delivery normalize.Text `json:"ec2RoleDelivery"`
}

type tag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// request holds the request parameters that identities are followed by.
type request struct {
	RoleARN         string         `json:"roleArn"`
	SessionName     string         `json:"roleSessionName"`
	UserName        string         `json:"userName"`
	TargetPrincipal string         `json:"targetPrincipal"`
	ClusterName     normalize.Text `json:"clusterName"`
	Name            normalize.Text `json:"name"`
	BucketName      normalize.Text `json:"bucketName"`
	Key             normalize.Text `json:"key"`
	Tags            []tag          `json:"tags"`
}

// response holds the same of the response.
type response struct {
	Credentials struct {
		AccessKey string `json:"accessKeyId"`
	} `json:"credentials"`
	AccessKey struct {
		ID       string `json:"accessKeyId"`
		UserName string `json:"userName"`
	} `json:"accessKey"`
	AssumedRole struct {
		ARN string `json:"arn"`
	} `json:"assumedRoleUser"`
	FederatedUser struct {
		ARN string `json:"arn"`
	} `json:"federatedUser"`
	WebSubject   normalize.Text `json:"subjectFromWebIdentityToken"`
	Provider     normalize.Text `json:"provider"`
	ConsoleLogin normalize.Text `json:"ConsoleLogin"`
	SwitchRole   normalize.Text `json:"SwitchRole"`
	CheckMFA     normalize.Text `json:"CheckMfa"`
	Subject      struct {
		Namespace      string `json:"namespace"`
		ServiceAccount string `json:"serviceAccount"`
	} `json:"subject"`
}

type additional struct {
	MFAUsed normalize.Text `json:"MFAUsed"`
}
