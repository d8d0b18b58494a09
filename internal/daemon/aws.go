package daemon

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/clew-sec/clew/internal/config"
)

// awsOf is how AWS, or a server that speaks as it does, is reached. Without keys its
// libraries look for credentials where they always do.
func awsOf(ctx context.Context, region, endpoint string, accessKeyID, secretAccessKey config.Secret) (aws.Config, error) {
	var opts []func(*awsconfig.LoadOptions) error
	if region != "" {
		opts = append(opts, awsconfig.WithRegion(region))
	}
	id, err := accessKeyID.Read()
	key, err2 := secretAccessKey.Read()
	if err := errors.Join(err, err2); err != nil {
		return aws.Config{}, err
	}
	if id != "" {
		opts = append(opts, awsconfig.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(id, key, "")))
	}
	c, err := awsconfig.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("finding AWS credentials: %w", err)
	}
	if endpoint != "" {
		c.BaseEndpoint = &endpoint
	}
	return c, nil
}

// s3Of is the client for objects; other servers than AWS want the bucket in the path.
func s3Of(c aws.Config) *s3.Client {
	return s3.NewFromConfig(c, func(o *s3.Options) { o.UsePathStyle = c.BaseEndpoint != nil })
}
