// Command generate writes an hour of ordinary CloudTrail records of an account
// with an EKS cluster to standard output: administrators, CI, Terraform, node
// components and controllers. The same program always writes the same bytes:
//
//	go run ./test/recordings/cloud/aws-benign-hour/generate > test/recordings/cloud/aws-benign-hour/cloudtrail.json
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	account = "111122223333"
	office  = "203.0.113.50"
	nat     = "203.0.113.10"
	vpc     = "10.0.3.17"
)

var start = time.Date(2026, time.March, 3, 9, 0, 0, 0, time.UTC)

// record is one CloudTrail record, members in the order the service writes them.
type record struct {
	Version   string          `json:"eventVersion"`
	Identity  json.RawMessage `json:"userIdentity"`
	Time      string          `json:"eventTime"`
	Source    string          `json:"eventSource"`
	Name      string          `json:"eventName"`
	Region    string          `json:"awsRegion"`
	IP        string          `json:"sourceIPAddress"`
	Agent     string          `json:"userAgent"`
	Error     string          `json:"errorCode,omitempty"`
	Message   string          `json:"errorMessage,omitempty"`
	Request   json.RawMessage `json:"requestParameters"`
	Response  json.RawMessage `json:"responseElements"`
	RequestID string          `json:"requestID"`
	EventID   string          `json:"eventID"`
	ReadOnly  bool            `json:"readOnly"`
	Type      string          `json:"eventType"`
	Managed   bool            `json:"managementEvent"`
	Recipient string          `json:"recipientAccountId"`
	Category  string          `json:"eventCategory"`
}

// caller is who calls, from where and with what.
type caller struct{ identity, ip, agent string }

// journal collects records.
type journal struct {
	records []record
	rnd     *rand.Rand
}

func main() {
	if err := generate(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// generate writes the whole recording to w.
func generate(w io.Writer) error {
	j := &journal{rnd: rand.New(rand.NewPCG(2026, 3))} //nolint:gosec // the same seed gives the same recording
	j.nodes()
	j.controllers()
	j.pipeline()
	j.people()
	j.services()
	return j.write(w)
}

// call appends one record; request is JSON or "" for none. Names that begin
// with Get, List, Describe or Batch are reads.
func (j *journal) call(at time.Duration, c caller, service, name, request string) *record {
	id := func() string {
		return fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", j.rnd.Uint32(), j.rnd.Uint32()>>16, j.rnd.Uint32()>>20, j.rnd.Uint32()>>20, j.rnd.Uint64()>>16)
	}
	j.records = append(j.records, record{
		Version: "1.11", Identity: json.RawMessage(c.identity), Time: start.Add(at).Format(time.RFC3339), Source: service + ".amazonaws.com", Name: name,
		Region: "eu-west-1", IP: c.ip, Agent: c.agent, Request: document(request), Response: document(""), RequestID: id(), EventID: id(),
		ReadOnly: reads(name), Type: "AwsApiCall", Managed: true, Recipient: account, Category: "Management",
	})
	return &j.records[len(j.records)-1]
}

func reads(name string) bool {
	return slices.ContainsFunc([]string{"Get", "List", "Describe", "Batch", "Assume"}, func(p string) bool { return strings.HasPrefix(name, p) })
}

func document(s string) json.RawMessage {
	if s == "" {
		return json.RawMessage("null")
	}
	return json.RawMessage(s)
}

// session is the identity of a role session.
func session(role, name, key, more string) string {
	return fmt.Sprintf(`{"type":"AssumedRole","principalId":"AROAEXAMPLE%[1]X:%[2]s","arn":"arn:aws:sts::%[4]s:assumed-role/%[1]s/%[2]s","accountId":"%[4]s","accessKeyId":"%[3]s",`+
		`"sessionContext":{"sessionIssuer":{"type":"Role","principalId":"AROAEXAMPLE%[1]X","arn":"arn:aws:iam::%[4]s:role/%[1]s","accountId":"%[4]s","userName":"%[1]s"},`+
		`"attributes":{"creationDate":"2026-03-03T08:55:00Z","mfaAuthenticated":"false"}%[5]s}}`, role, name, key, account, more)
}

// federate exchanges a web identity for a role session and returns its caller.
func (j *journal) federate(at time.Duration, subject, provider, role, name, ip, agent string) caller {
	key := fmt.Sprintf("ASIAEXAMPLE%09d", j.rnd.IntN(1e9))
	who := fmt.Sprintf(`{"type":"WebIdentityUser","principalId":"arn:aws:iam::%[1]s:oidc-provider/%[2]s:sts.amazonaws.com:%[3]s","userName":"%[3]s","identityProvider":"arn:aws:iam::%[1]s:oidc-provider/%[2]s"}`, account, provider, subject)
	r := j.call(at, caller{who, ip, agent}, "sts", "AssumeRoleWithWebIdentity", fmt.Sprintf(`{"roleArn":"arn:aws:iam::%s:role/%s","roleSessionName":"%s"}`, account, role, name))
	r.Response = document(fmt.Sprintf(`{"credentials":{"accessKeyId":"%[1]s","sessionToken":"example","expiration":"Mar 3, 2026, 10:05:00 AM"},"subjectFromWebIdentityToken":"%[2]s","assumedRoleUser":{"assumedRoleId":"AROAEXAMPLE:%[4]s","arn":"arn:aws:sts::%[5]s:assumed-role/%[3]s/%[4]s"},"audience":"sts.amazonaws.com"}`, key, subject, role, name, account))
	return caller{session(role, name, key, ""), ip, agent}
}

// around returns a moment within n seconds after at.
func (j *journal) around(at time.Duration, n int) time.Duration {
	return at + time.Duration(j.rnd.IntN(n))*time.Second
}

// nodes are six machines of a node group with CNI, CSI, image pulls and SSM.
func (j *journal) nodes() {
	for i := range 6 {
		id := fmt.Sprintf("i-0%016x", 0xa1b2c3d4e5f60718+uint64(i)*0x1111)
		who := session("eks-node", id, fmt.Sprintf("ASIAEXAMPLE00NODE%03d", i), `,"ec2RoleDelivery":"2.0"`)
		for m := time.Duration(i) * 7 * time.Second; m < time.Hour; m += 12 * time.Minute {
			cni := caller{who, nat, "amazon-vpc-cni-k8s/v1.18.3 aws-sdk-go/1.51.32"}
			j.call(j.around(m, 60), cni, "ec2", "DescribeNetworkInterfaces", `{}`)
			j.call(j.around(m, 60), caller{who, nat, "amazon-ssm-agent/3.3.808.0"}, "ssm", "UpdateInstanceInformation", `{"instanceId":"`+id+`","agentStatus":"Active"}`)
			if j.rnd.IntN(2) == 0 {
				j.call(j.around(m, 300), cni, "ec2", "AssignPrivateIpAddresses", `{"ipv4PrefixCount":1}`)
				j.call(j.around(m, 300), caller{who, nat, "ecr-credential-provider/v1.31.2"}, "ecr", "GetAuthorizationToken", `{}`)
				j.call(j.around(m, 300), caller{who, nat, "containerd/1.7.22"}, "ecr", "BatchGetImage", `{"repositoryName":"shop/orders","imageIds":[{"imageTag":"1.42.0"}]}`)
			}
		}
	}
}

// controllers are what runs in the cluster with roles of its own.
func (j *journal) controllers() {
	const provider = "oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE"
	type step struct{ service, name, request string }
	for _, c := range []struct {
		sa, role, agent string
		every           time.Duration
		steps           []step
	}{
		{"kube-system:cluster-autoscaler", "cluster-autoscaler", "cluster-autoscaler/1.31.0 aws-sdk-go/1.48.7", 3 * time.Minute,
			[]step{{"autoscaling", "DescribeAutoScalingGroups", `{}`}, {"ec2", "DescribeInstanceTypes", `{}`}}},
		{"kube-system:ebs-csi-controller-sa", "ebs-csi", "aws-ebs-csi-driver/v1.35.0 aws-sdk-go-v2/1.30.3", 12 * time.Minute,
			[]step{{"ec2", "DescribeVolumes", `{}`}, {"ec2", "CreateVolume", `{"size":"20","volumeType":"gp3"}`}, {"ec2", "AttachVolume", `{"volumeId":"vol-0a1"}`}, {"ec2", "DeleteVolume", `{"volumeId":"vol-0b2"}`}, {"ec2", "DeleteSnapshot", `{"snapshotId":"snap-0c3"}`}}},
		{"karpenter:karpenter", "karpenter", "karpenter.sh/1.0.6 aws-sdk-go/1.55.5", 10 * time.Minute,
			[]step{{"eks", "DescribeCluster", `{"name":"prod"}`}, {"ec2", "DescribeSpotPriceHistory", `{}`}, {"ec2", "CreateFleet", `{"CreateFleetRequest":{"Type":"instant"}}`}, {"ec2", "TerminateInstances", `{"instancesSet":{"items":[{"instanceId":"i-0dead"}]}}`}}},
		{"external-secrets:external-secrets", "external-secrets", "aws-sdk-go/1.55.5", 20 * time.Minute,
			[]step{{"secretsmanager", "GetSecretValue", `{"secretId":"prod/orders/db"}`}, {"secretsmanager", "GetSecretValue", `{"secretId":"prod/orders/smtp"}`}, {"secretsmanager", "GetSecretValue", `{"secretId":"prod/web/session"}`}, {"secretsmanager", "DescribeSecret", `{"secretId":"prod/orders/db"}`}, {"ssm", "GetParametersByPath", `{"path":"/prod","withDecryption":true}`}}},
		{"kube-system:aws-load-balancer-controller", "alb-controller", "elbv2.k8s.aws/v2.9.0 aws-sdk-go-v2/1.30.3", 10 * time.Minute,
			[]step{{"elasticloadbalancing", "DescribeLoadBalancers", `{}`}, {"ec2", "DescribeSecurityGroups", `{}`}, {"wafv2", "GetWebACLForResource", `{}`}, {"acm", "ListCertificates", `{}`}}},
	} {
		who := j.federate(j.around(0, 20), "system:serviceaccount:"+c.sa, provider, c.role, "1772528100", nat, c.agent)
		for m := 30 * time.Second; m < time.Hour; m += c.every {
			for i, s := range c.steps {
				if i > 1 && j.rnd.IntN(2) == 0 {
					continue
				}
				at := who
				if s.service == "ec2" && j.rnd.IntN(2) == 0 {
					at.ip = vpc // through the VPC endpoint
				}
				j.call(j.around(m, 90), at, s.service, s.name, s.request)
			}
		}
	}
}

// pipeline is CI: two runs that plan and apply, build and push.
func (j *journal) pipeline() {
	for run, ip := range []string{"198.51.100.21", "198.51.100.140"} {
		at := time.Duration(8+run*27) * time.Minute
		who := j.federate(at, "repo:example/infra:ref:refs/heads/main", "token.actions.githubusercontent.com", "terraform-ci", fmt.Sprintf("gh-81%d", run), ip, "APN/1.0 HashiCorp/1.0 Terraform/1.9.2")
		j.call(at+2*time.Second, who, "sts", "GetCallerIdentity", "")
		for i, s := range [][2]string{{"ec2", "DescribeVpcs"}, {"ec2", "DescribeSecurityGroups"}, {"iam", "GetRole"}, {"iam", "ListAttachedRolePolicies"}, {"s3", "GetBucketPolicy"}, {"rds", "DescribeDBInstances"}, {"lambda", "GetFunction20150331v2"},
			{"kms", "DescribeKey"}, {"eks", "DescribeCluster"}, {"eks", "ListAccessEntries"}, {"route53", "ListResourceRecordSets"}, {"cloudtrail", "DescribeTrails"}, {"logs", "DescribeLogGroups"}, {"secretsmanager", "DescribeSecret"}} {
			j.call(at+time.Duration(5+i)*time.Second, who, s[0], s[1], `{}`)
		}
		for i, s := range [][3]string{{"iam", "CreateRole", `{"roleName":"reports","assumeRolePolicyDocument":"{\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"Service\":\"lambda.amazonaws.com\"},\"Action\":\"sts:AssumeRole\"}]}"}`},
			{"iam", "AttachRolePolicy", `{"roleName":"reports","policyArn":"arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"}`},
			{"lambda", "UpdateFunctionCode20150331v2", `{"functionName":"reports"}`},
			{"s3", "PutBucketPolicy", `{"bucketName":"reports","bucketPolicy":{"Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}]}}`},
			{"ec2", "AuthorizeSecurityGroupIngress", `{"groupId":"sg-0a1","ipPermissions":{"items":[{"ipProtocol":"tcp","fromPort":443,"toPort":443,"ipRanges":{"items":[{"cidrIp":"0.0.0.0/0"}]}}]}}`},
			{"ecr", "PutImage", `{"repositoryName":"shop/orders","imageTag":"1.42.1"}`}} {
			j.call(at+time.Duration(60+4*i)*time.Second, who, s[0], s[1], s[2])
		}
	}
}

// people are an administrator in the console, a developer with the CLI and one
// who lacks a right now and then.
func (j *journal) people() {
	admin := caller{session("Admin", "bob@example.com", "ASIAEXAMPLE00ADMIN01", ""), office, "AWS Internal"}
	pages := [][2]string{{"ec2", "DescribeInstances"}, {"ec2", "DescribeVolumes"}, {"cloudwatch", "DescribeAlarms"}, {"s3", "ListBuckets"}, {"rds", "DescribeDBInstances"}, {"eks", "ListClusters"}, {"eks", "DescribeCluster"}, {"iam", "ListRoles"}, {"secretsmanager", "ListSecrets"}, {"ce", "GetCostAndUsage"}, {"health", "DescribeEventAggregates"}, {"notifications", "ListNotificationEvents"}}
	for m := 3 * time.Minute; m < 50*time.Minute; m += 30 * time.Second {
		p := pages[j.rnd.IntN(len(pages))]
		j.call(j.around(m, 60), admin, p[0], p[1], `{}`)
	}
	j.call(21*time.Minute, admin, "iam", "CreateUser", `{"userName":"carol"}`)
	j.call(21*time.Minute+40*time.Second, admin, "iam", "AddUserToGroup", `{"userName":"carol","groupName":"developers"}`)
	j.call(33*time.Minute, admin, "ssm", "StartSession", `{"target":"i-0build"}`)
	alice := caller{fmt.Sprintf(`{"type":"IAMUser","principalId":"AIDAEXAMPLEALICE","arn":"arn:aws:iam::%[1]s:user/alice","accountId":"%[1]s","accessKeyId":"AKIAEXAMPLE000ALICE1","userName":"alice"}`, account), office, "aws-cli/2.17.20 md/prompt#off"}
	for i, s := range [][2]string{{"sts", "GetCallerIdentity"}, {"eks", "DescribeCluster"}, {"ecr", "GetAuthorizationToken"}, {"s3", "ListBuckets"}, {"logs", "FilterLogEvents"}, {"logs", "StartQuery"}} {
		j.call(j.around(time.Duration(5+8*i)*time.Minute, 100), alice, s[0], s[1], `{"name":"prod"}`)
	}
	for i := range 3 {
		r := j.call(time.Duration(14+i)*time.Minute, alice, "iam", "ListUsers", `{}`)
		r.Error, r.Message = "AccessDenied", "User: arn:aws:iam::111122223333:user/alice is not authorized to perform: iam:ListUsers"
	}
}

// services are calls of AWS itself.
func (j *journal) services() {
	service := func(name string) caller {
		return caller{fmt.Sprintf(`{"type":"AWSService","invokedBy":"%s"}`, name), name, name}
	}
	for m := time.Minute; m < time.Hour; m += 6 * time.Minute {
		j.call(j.around(m, 60), service("ec2.amazonaws.com"), "sts", "AssumeRole", `{"roleArn":"arn:aws:iam::111122223333:role/eks-node","roleSessionName":"i-0a1b2c3d4e5f60718"}`)
		j.call(j.around(m, 60), service("eks.amazonaws.com"), "sts", "AssumeRole", `{"roleArn":"arn:aws:iam::111122223333:role/eks-cluster","roleSessionName":"aws-go-sdk-1772528100"}`)
	}
	j.call(12*time.Minute, service("autoscaling.amazonaws.com"), "ec2", "RunInstances", `{"instanceType":"m7g.large","instancesSet":{"items":[{"imageId":"ami-0a1","minCount":1,"maxCount":1}]}}`)
	j.call(40*time.Minute, service("backup.amazonaws.com"), "ec2", "CreateSnapshot", `{"volumeId":"vol-0a1"}`)
	j.call(41*time.Minute, service("dlm.amazonaws.com"), "ec2", "DeleteSnapshot", `{"snapshotId":"snap-0old"}`)
}

// write sorts the records by time and writes them one a line.
func (j *journal) write(out io.Writer) error {
	slices.SortStableFunc(j.records, func(a, b record) int { return cmp.Compare(a.Time, b.Time) })
	w := &bytes.Buffer{}
	w.WriteString("{\"Records\":[\n")
	for i := range j.records {
		b, err := json.Marshal(&j.records[i])
		if err != nil {
			return fmt.Errorf("writing record %d (%s): %w", i+1, j.records[i].Name, err)
		}
		if i > 0 {
			w.WriteString(",\n")
		}
		w.Write(b)
	}
	w.WriteString("\n]}\n")
	if _, err := out.Write(w.Bytes()); err != nil {
		return fmt.Errorf("writing the recording: %w", err)
	}
	return nil
}
